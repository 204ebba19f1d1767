"""Users and vectors for the benchmarks. Equal arguments give equal users and vectors."""

from __future__ import annotations

from uuid import UUID

import numpy as np
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from numpy.typing import NDArray

from vectorstore.ingest import binary_copy

VECTOR_SIZE = 512
CLUSTERS = 200
SPREAD = 0.6
"""Standard deviation of the vectors around the center of their cluster. That of the centers is 1."""

INSERT_USERS = """
INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, verified)
SELECT id, 'person' || number || '@example.com', '', 'Person ' || number, date '1970-01-01' + (number * 7919 %% 12000)::integer,
       (ARRAY['male', 'female', 'other'])[1 + number %% 3], true
FROM unnest(%s::uuid[]) WITH ORDINALITY AS new_users(id, number)
"""


def make_users(count: int, *, seed: int = 4) -> list[UUID]:
    """Insert ``count`` verified users of three genders, aged from about 24 to 56, with random ids. Return the ids."""
    numbers = np.random.default_rng(seed).bytes(16 * count)
    user_ids = [UUID(bytes=numbers[start : start + 16], version=4) for start in range(0, 16 * count, 16)]
    with connection.cursor() as cursor:
        cursor.execute(INSERT_USERS, [user_ids])
        cursor.execute("ANALYZE users")
    return user_ids


def give_embeddings(user_ids: list[UUID], vectors: NDArray[np.float32]) -> None:
    """Insert a row into ``profile_embeddings`` for each user by a binary COPY."""
    copied = binary(user_ids, vectors)
    with transaction.atomic(), connection.cursor() as cursor:
        copy_embeddings(cursor, copied)
        cursor.execute("ANALYZE profile_embeddings")


def binary(user_ids: list[UUID], vectors: NDArray[np.float32]) -> bytes:
    """Return the rows in PostgreSQL's binary format, with header and trailer."""
    rows = (binary_copy.line([user_id.bytes, binary_copy.reals(vector)]) for user_id, vector in zip(user_ids, vectors, strict=True))
    return binary_copy.BEGIN + b"".join(rows) + binary_copy.END


def copy_embeddings(cursor: CursorWrapper, copied: bytes) -> None:
    with cursor.copy("COPY profile_embeddings (user_id, vector) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copied)


def clustered(count: int, *, seed: int = 5) -> NDArray[np.float32]:
    """Return ``count`` vectors around ``CLUSTERS`` centers.

    Embeddings have clusters. On independent vectors the recall of a graph says nothing about embeddings. The centers are the same for every
    ``seed``, because the vectors of the queries must come from the same clusters as the stored ones.
    """
    centers = np.random.default_rng(CLUSTERS).standard_normal((CLUSTERS, VECTOR_SIZE)).astype(np.float32)
    random = np.random.default_rng(seed)
    around = random.standard_normal((count, VECTOR_SIZE)).astype(np.float32)
    return centers[random.integers(0, CLUSTERS, count)] + np.float32(SPREAD) * around
