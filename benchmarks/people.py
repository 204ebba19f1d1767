"""People and vectors for the benchmarks: the same ones for the same numbers."""

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
"""Of the people of a cluster around its middle, against 1 for the middles around the origin."""

MAKE_PEOPLE = """
INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, verified)
SELECT id, 'person' || number || '@example.com', '', 'Person ' || number, date '1970-01-01' + (number * 7919 %% 12000)::integer,
       (ARRAY['male', 'female', 'other'])[1 + number %% 3], true
FROM unnest(%s::uuid[]) WITH ORDINALITY AS person(id, number)
"""


def make_people(count: int, *, seed: int = 4) -> list[UUID]:
    """COUNT verified people of three genders, aged from about 24 to 56, in one statement; their ids in no order."""
    numbers = np.random.default_rng(seed).bytes(16 * count)
    user_ids = [UUID(bytes=numbers[start : start + 16], version=4) for start in range(0, 16 * count, 16)]
    with connection.cursor() as cursor:
        cursor.execute(MAKE_PEOPLE, [user_ids])
        cursor.execute("ANALYZE users")
    return user_ids


def give_embeddings(user_ids: list[UUID], vectors: NDArray[np.float32]) -> None:
    """A row in ``profile_embeddings`` for each, by a binary COPY."""
    copied = binary(user_ids, vectors)
    with transaction.atomic(), connection.cursor() as cursor:
        copy_embeddings(cursor, copied)
        cursor.execute("ANALYZE profile_embeddings")


def binary(user_ids: list[UUID], vectors: NDArray[np.float32]) -> bytes:
    """The rows in PostgreSQL's binary format, whole."""
    rows = (binary_copy.line([user_id.bytes, binary_copy.reals(vector)]) for user_id, vector in zip(user_ids, vectors, strict=True))
    return binary_copy.BEGIN + b"".join(rows) + binary_copy.END


def copy_embeddings(cursor: CursorWrapper, copied: bytes) -> None:
    with cursor.copy("COPY profile_embeddings (user_id, vector) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copied)


def clustered(count: int, *, seed: int = 5) -> NDArray[np.float32]:
    """COUNT vectors around CLUSTERS middles, as embeddings have clusters: on independent ones a graph's recall says nothing about embeddings. The middles
    are the same for every SEED, as whoever is searched for comes from the same people as whoever is found."""
    middles = np.random.default_rng(CLUSTERS).standard_normal((CLUSTERS, VECTOR_SIZE)).astype(np.float32)
    random = np.random.default_rng(seed)
    around = random.standard_normal((count, VECTOR_SIZE)).astype(np.float32)
    return middles[random.integers(0, CLUSTERS, count)] + np.float32(SPREAD) * around
