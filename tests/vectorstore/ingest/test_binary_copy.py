"""Rows in PostgreSQL's binary format for COPY."""

from __future__ import annotations

import struct
from uuid import UUID

import numpy as np
import pytest
from django.db import connection

from vectorstore.ingest import binary_copy

IDS = [UUID(int=number) for number in (1, 2**127 + 5, 3)]
VECTORS = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32)
TAIL = binary_copy.fields([b"clip", None, binary_copy.texts([])])


@pytest.mark.parametrize(
    "tails", [[TAIL] * 3, [TAIL, binary_copy.fields([b"", binary_copy.json({"lat": 1}), binary_copy.texts(["sea", "Ⅻ"])]), TAIL]]
)
def test_lines_of_vectors__all_at_once__equals_one_by_one(tails: list[bytes]) -> None:
    all_at_once = binary_copy.lines_of_vectors(b"".join(user_id.bytes for user_id in IDS), VECTORS, tails, fields=5)
    one_by_one = [
        struct.pack("!h", 5) + binary_copy.fields([user_id.bytes, binary_copy.reals(vector)]) + tail
        for user_id, vector, tail in zip(IDS, VECTORS, tails, strict=True)
    ]
    assert all_at_once == b"".join(one_by_one)


@pytest.mark.django_db
def test_lines_of_vectors__copied__postgresql_reads_the_same_values() -> None:
    tails = [
        binary_copy.fields([b"clip", binary_copy.json({"lat": 52.5, "lon": -13.0}), binary_copy.texts(["sea", "Ⅻ"])]),
        binary_copy.fields([b"", None, binary_copy.texts([])]),
        binary_copy.fields([b"", None, None]),
    ]
    lines = binary_copy.lines_of_vectors(b"".join(user_id.bytes for user_id in IDS), VECTORS, tails, fields=5)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE copied (id uuid, vector real[], model varchar, location jsonb, interests text[]) ON COMMIT DROP"
        )
        with cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(binary_copy.BEGIN + lines + binary_copy.END)
        cursor.execute("SELECT * FROM copied")
        rows = cursor.fetchall()
    assert [row[0] for row in rows] == IDS
    assert np.array_equal(np.array([row[1] for row in rows], np.float32), VECTORS)
    assert [row[2:] for row in rows] == [("clip", '{"lat": 52.5, "lon": -13.0}', ["sea", "Ⅻ"]), ("", None, []), ("", None, None)]
