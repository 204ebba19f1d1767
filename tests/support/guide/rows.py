"""Rows as the migration guide's services write them, and the digest of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg

from findme.migrator.baseline.scratch import GUIDE_TABLES
from tests.schema.guide import ANONYMIZE, HARD_DELETE, SOFT_DELETE

Session = psycopg.Connection[Any]

ADD_USER = """
    INSERT INTO users (email, password_hash, full_name, date_of_birth, gender, bio, verified, active)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
"""
ADD_VIDEO = """
    INSERT INTO videos (user_id, storage_url, thumbnail_url, duration, file_size, status, verification_score, metadata)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
"""
ADD_MATCH = """
    INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
"""
ADD_CALL = "INSERT INTO video_calls (match_id, caller_id, callee_id, session_id) VALUES (%s, %s, %s, %s) RETURNING id"
ANSWER = "UPDATE matches SET user_action = %s, matched_user_action = %s, status = %s WHERE id = %s"
END_CALL = "UPDATE video_calls SET started_at = %s, ended_at = %s, duration = %s, status = 'ended', quality_rating = %s WHERE id = %s"
SHOW_VIDEO = "UPDATE users SET video_id = %s WHERE id = %s"

BEGAN = datetime(2026, 3, 1, 18, tzinfo=UTC)
ENDED = datetime(2026, 3, 1, 18, 12, 30, tzinfo=UTC)
EXPIRES = datetime(2026, 3, 9, tzinfo=UTC)
GENDERS = ("male", "female", "other")


@dataclass
class Rows:
    """The ids of the rows. ``users`` has no deleted ones."""

    users: list[UUID] = field(default_factory=list)
    softly_deleted: list[UUID] = field(default_factory=list)
    anonymized: list[UUID] = field(default_factory=list)
    hard_deleted: list[UUID] = field(default_factory=list)
    """Users without a row. Their points remain, because the guide deletes none."""


def one(session: Session, statement: str, *parameters: Any) -> Any:
    """Return the first value of the only row."""
    [[value]] = session.execute(statement.encode(), parameters).fetchall()
    return value


def run(session: Session, statement: str, user_id: UUID) -> None:
    """Run one of the guide's statements for a user."""
    session.execute(statement.replace("'user_uuid'", "%s").encode(), [user_id])


def add_user(session: Session, number: int, prefix: str = "user") -> UUID:
    added: UUID = one(
        session,
        ADD_USER,
        f"{prefix}{number}@example.com",
        "$2a$10$not.a.hash",
        f"Person Number {number}",
        date(1970 + number % 35, 1 + number % 12, 1 + number % 28),
        GENDERS[number % 3],
        f"Reads books, and climbs hill number {number}." if number % 4 else None,
        number % 5 != 0,
        number % 11 != 0,
    )
    return added


def add_video(session: Session, user_id: UUID, number: int) -> UUID:
    url = f"https://videos.example.com/{number}"
    added: UUID = one(
        session, ADD_VIDEO, user_id, f"{url}.mp4", f"{url}.jpg", 1 + number % 120, 250_000, "verified", 0.97, '{"width": 1080}'
    )
    session.execute(SHOW_VIDEO, [added, user_id])
    return added


def add_match(session: Session, user_id: UUID, matched_user_id: UUID, number: int) -> UUID:
    """Add a match in the week with this number, counted from the year 2000."""
    added: UUID = one(session, ADD_MATCH, user_id, matched_user_id, 1 + number % 52, 2000 + number // 52, number % 101 / 100, EXPIRES)
    return added


def add_call(session: Session, match_id: UUID, caller_id: UUID, callee_id: UUID, name: str) -> UUID:
    added: UUID = one(session, ADD_CALL, match_id, caller_id, callee_id, name)
    return added


def add_rows(session: Session, count: int) -> list[UUID]:
    """Add ``count`` users, each with a match, every third with a video, every second match with a call. Return the users' ids."""
    users = [add_user(session, number) for number in range(count)]
    for number, user_id in enumerate(users):
        if number % 3 == 0:
            add_video(session, user_id, number)
        _add_match_and_call(session, users, number)
    return users


def delete_some(session: Session, users: Sequence[UUID]) -> Rows:
    """Of every ten users, softly delete one, anonymize one and delete one for good, by the guide's statements."""
    rows = Rows()
    kinds = {7: (rows.softly_deleted, SOFT_DELETE), 8: (rows.anonymized, ANONYMIZE), 9: (rows.hard_deleted, HARD_DELETE)}
    for number, user_id in enumerate(users):
        group, statement = kinds.get(number % 10, (rows.users, ""))
        group.append(user_id)
        if statement:
            run(session, statement, user_id)
    return rows


def _add_match_and_call(session: Session, users: Sequence[UUID], number: int) -> None:
    user_id, matched_user_id = users[number], users[(number + 1) % len(users)]
    match_id = add_match(session, user_id, matched_user_id, number)
    if number % 2:
        session.execute(ANSWER, ["accepted", "accepted", "accepted", match_id])
        callers = (user_id, matched_user_id) if number % 4 == 1 else (matched_user_id, user_id)
        call_id = add_call(session, match_id, *callers, f"session-{number}")
        session.execute(END_CALL, [BEGAN, ENDED, 750, 1 + number % 5, call_id])


def columns_of(session: Session) -> dict[str, list[str]]:
    """Return the columns of the guide's tables, by table."""
    return {
        table: [
            name
            for (name,) in session.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                [table],
            )
        ]
        for table in GUIDE_TABLES
    }


def digests(session: Session, columns: Mapping[str, Sequence[str]]) -> dict[tuple[str, UUID], str]:
    """Return a digest of these columns for each row, by table and id."""
    found: dict[tuple[str, UUID], str] = {}
    for table, names in columns.items():
        listed = ", ".join(names)
        for key, digest in session.execute(f"SELECT id, md5(ROW({listed})::text) FROM {table}".encode()):
            found[table, key] = digest
    return found


def break_rules(session: Session, users: Sequence[UUID]) -> dict[str, UUID]:
    """Add rows that FindMe's stricter rules forbid, next to the rows of ``add_rows``. Return the key of each row, by rule."""
    broken = {"users_video_id_fkey": users[1]}
    session.execute("UPDATE users SET video_id = uuid_generate_v4() WHERE id = %s", [users[1]])
    broken["videos.metadata"] = one(session, ADD_VIDEO, users[2], "https://videos.example.com/x.mp4", None, 30, 1, "rejected", 0.1, None)
    broken["videos.user_id"] = one(session, ADD_VIDEO, None, "https://videos.example.com/y.mp4", None, 30, 1, "error", None, "{}")
    add_match(session, users[3], users[5], 5)
    broken["matches_pair_week_number_year_key"] = add_match(session, users[5], users[3], 5)
    broken["matches_user_action_check"] = add_match(session, users[3], users[6], 6)
    session.execute(ANSWER, [" Accepted", None, "pending", broken["matches_user_action_check"]])
    return broken
