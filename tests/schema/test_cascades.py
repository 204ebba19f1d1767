"""Deleting a user reads only the user's rows, however large the tables are."""

from __future__ import annotations

import pytest
from django.db import connection

USERS = 3000

POPULATION = """
    INSERT INTO users (email, password_hash, full_name, date_of_birth, gender)
    SELECT 'user' || n || '@example.com', '', 'User', '1990-01-01', 'other' FROM generate_series(1, {users}) n;
    CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM users;
    INSERT INTO videos (user_id, storage_url, duration, file_size, deleted_at)
    SELECT id, 's3://videos', 30, 1, CASE WHEN n % 2 = 0 THEN now() END FROM numbered;
    UPDATE users SET video_id = videos.id FROM videos WHERE user_id = users.id;
    INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(1.0::real, ARRAY[512]) FROM numbered;
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    SELECT a.id, b.id, 1 + step, 2026, 0.5, now() FROM generate_series(1, 3) step
    JOIN numbered a ON true JOIN numbered b ON b.n = (a.n + step) % {users};
    INSERT INTO video_calls (match_id, caller_id, callee_id, session_id)
    SELECT id, matched_user_id, user_id, id::text FROM matches;
    SET CONSTRAINTS ALL IMMEDIATE;
    ANALYZE users, videos, matches, video_calls, profile_embeddings;
"""

READ_IN_SEQUENCE = """
    SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables
    WHERE relname IN ('users', 'videos', 'matches', 'video_calls', 'profile_embeddings')
"""


def read_in_sequence() -> dict[str, int]:
    """Return the number of rows that sequential scans of this transaction have read, by table."""
    with connection.cursor() as cursor:
        cursor.execute(READ_IN_SEQUENCE)
        return dict(cursor.fetchall())


@pytest.mark.django_db
def test_delete__reads_no_table_from_end_to_end() -> None:
    with connection.cursor() as cursor:
        cursor.execute(POPULATION.format(users=USERS))
        cursor.execute("SELECT id FROM numbered WHERE n = 7")
        (person,) = cursor.fetchone()
        before = read_in_sequence()
        cursor.execute("DELETE FROM users WHERE id = %s", [person])
        assert read_in_sequence() == before
        cursor.execute("SELECT count(*) FROM video_calls")
        assert cursor.fetchone() == (USERS * 3 - 6,)


@pytest.mark.django_db
def test_delete__without_an_index__reads_the_table_from_end_to_end() -> None:
    with connection.cursor() as cursor:
        cursor.execute(POPULATION.format(users=USERS))
        cursor.execute("DROP INDEX idx_matches_matched_user_id")
        before = read_in_sequence()
        cursor.execute("DELETE FROM users WHERE id = (SELECT id FROM numbered WHERE n = 7)")
        assert read_in_sequence()["matches"] - before["matches"] >= USERS
