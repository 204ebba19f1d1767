"""Write validated rows to ``profile_embeddings``, in one short transaction per batch.

Rows of users without an embedding are written with COPY directly into the table, which writes each vector once. The other rows are written with COPY
into a temporary table, followed by an UPDATE.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import numpy as np
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import errors

from findme.core.errors import UserFacingError
from findme.migrator.diagnostics import oldest_transaction
from vectorstore.ingest import binary_copy
from vectorstore.ingest.rows import UNSET, Content, Kind, Rejection, Row

Result = TypeVar("Result")

ATTEMPTS = 5
"""Maximum attempts for a batch that conflicts with other sessions writing the same users."""
LOCK_SECONDS = 60.0
"""How long a batch is tried again while another session has locked one of its rows."""
PAUSE_SECONDS = 0.5
"""Between two of these attempts. All other rows of the batch are free meanwhile."""

WAIT_LESS_THAN_A_DEADLOCK = """
    SELECT set_config('lock_timeout', greatest(1, least(nullif(own.setting::int, 0), deadlock.setting::int / 2))::text, true)
    FROM pg_settings own, pg_settings deadlock WHERE own.name = 'lock_timeout' AND deadlock.name = 'deadlock_timeout'
"""

CREATE = """
CREATE TEMPORARY TABLE embeddings_loaded (user_id uuid PRIMARY KEY);
CREATE TEMPORARY TABLE embeddings_staged (
    user_id uuid, vector real[], has_location boolean, lat float8, lon float8, has_interests boolean, interests text[],
    has_video_features boolean, video_features real[]
);
-- Numbers do not compress, so do not try.
ALTER TABLE embeddings_staged ALTER COLUMN vector SET STORAGE EXTERNAL, ALTER COLUMN video_features SET STORAGE EXTERNAL;
"""
DROP = "DROP TABLE IF EXISTS pg_temp.embeddings_loaded, pg_temp.embeddings_staged"

# Rows are locked in the order of their ids, as everywhere, so no two transactions deadlock. A session that deletes, erases or anonymizes one of these
# users waits for the batch, or the batch waits for it and then sees the result. The statement returns only the users that must not be loaded.
LOCK_USERS = """
WITH locked AS MATERIALIZED (
    SELECT id, deleted_at, restricted_at, objected_at FROM users WHERE id = ANY(%(ids)s::uuid[]) AND id <> '00000000-0000-0000-0000-000000000000' ORDER BY id FOR SHARE
)
SELECT given.id, CASE
    WHEN locked.id IS NULL THEN 'unknown user'
    WHEN locked.deleted_at IS NOT NULL THEN 'deleted user'
    WHEN EXISTS (SELECT FROM erased_users WHERE erased_users.user_id = given.id) THEN 'erased user'
    WHEN locked.restricted_at IS NOT NULL THEN 'restricted user'
    ELSE 'objecting user'
END
FROM unnest(%(ids)s::uuid[]) AS given(id) LEFT JOIN locked ON locked.id = given.id
WHERE locked.id IS NULL OR locked.deleted_at IS NOT NULL OR locked.restricted_at IS NOT NULL OR locked.objected_at IS NOT NULL
    OR EXISTS (SELECT FROM erased_users WHERE erased_users.user_id = given.id)
"""
LOCK_EMBEDDINGS = "SELECT user_id FROM profile_embeddings WHERE user_id = ANY(%(ids)s::uuid[]) ORDER BY user_id FOR NO KEY UPDATE"
ALREADY_LOADED = "SELECT user_id FROM embeddings_loaded WHERE user_id = ANY(%(ids)s::uuid[])"
NOTE_LOADED = "INSERT INTO embeddings_loaded SELECT unnest(%(ids)s::uuid[])"

INSERT_NEW = "COPY profile_embeddings (user_id, vector, model, location, interests, video_features) FROM STDIN (FORMAT BINARY)"
STAGE = "COPY embeddings_staged FROM STDIN (FORMAT BINARY)"
UPDATE_EXISTING = """
UPDATE profile_embeddings AS stored
SET vector = coalesce(staged.vector, stored.vector),
    model = CASE WHEN staged.vector IS NULL THEN stored.model ELSE %s END,
    location = CASE WHEN NOT has_location THEN stored.location WHEN lat IS NOT NULL THEN jsonb_build_object('lat', lat, 'lon', lon) END,
    interests = CASE WHEN has_interests THEN staged.interests ELSE stored.interests END,
    video_features = CASE WHEN has_video_features THEN staged.video_features ELSE stored.video_features END
FROM embeddings_staged AS staged
WHERE stored.user_id = staged.user_id
"""


BARRED = {
    Kind.UNKNOWN_USER: "no user has the id {}",
    Kind.DELETED_USER: "the user {} is deleted",
    Kind.ERASED_USER: "the user {} was anonymized or deleted for good",
    Kind.RESTRICTED_USER: "the data of the user {} may only be stored (article 18)",
    Kind.OBJECTING_USER: "the user {} objected to searches and matches, or withdrew the consent",
}


class _ConcurrentInsert(Exception):
    """Another session inserted a row of the batch in the meantime. That row is not locked, and updating such rows can deadlock."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Result of a batch: the written ids, and the rejected rows by their position. ``new`` of the written users had no row before."""

    loaded: list[UUID]
    new: int
    rejections: dict[int, Rejection]


@contextmanager
def staging() -> Iterator[None]:
    """Create the temporary tables of a run: staged rows, and the ids that this run has loaded."""
    with connection.cursor() as cursor:
        cursor.execute(DROP)
        cursor.execute(CREATE)
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute(DROP)


def store(rows: Sequence[Row], *, model: str, dry_run: bool = False) -> Stored:
    """Write the valid rows in one transaction, and return the others as rejections. With ``dry_run``, only validate them.

    Call it within ``staging()``.
    """
    return in_transaction(lambda: _store(rows, model, dry_run))


def in_transaction(work: Callable[[], Result]) -> Result:
    """Run ``work`` in one transaction and return its result. Repeat it after a conflict with another session that writes the same users.

    A wait for a lock ends before PostgreSQL checks for a deadlock. Then the locks of this session are released for a moment. So another session that
    writes one of the other users neither waits long nor fails. Raise UserFacingError if a lock is not free for ``LOCK_SECONDS``.
    """
    conflicts, deadline = 0, time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with transaction.atomic(durable=True):
                with connection.cursor() as cursor:
                    cursor.execute(WAIT_LESS_THAN_A_DEADLOCK)
                return work()
        except _ConcurrentInsert:
            conflicts += 1
            if conflicts == ATTEMPTS:
                raise OperationalError(f"a batch conflicted {ATTEMPTS} times with other sessions that write the same embeddings") from None
        except OperationalError as error:
            if isinstance(error.__cause__, errors.LockNotAvailable):
                if time.monotonic() > deadline:
                    raise UserFacingError(
                        f"Other sessions have locked users or embeddings for {LOCK_SECONDS:.0f} s{oldest_transaction(connection)}. End their transactions."
                    ) from error
                time.sleep(PAUSE_SECONDS)
                continue
            conflicts += 1
            if conflicts == ATTEMPTS or not isinstance(error.__cause__, errors.DeadlockDetected):
                raise


def _store(rows: Sequence[Row], model: str, dry_run: bool) -> Stored:
    ids = _ids(rows)
    with connection.cursor() as cursor:
        barred = _barred(cursor, ids)
        embedded = _found(cursor, LOCK_EMBEDDINGS, ids)
        loaded = _found(cursor, ALREADY_LOADED, ids)
        allowed, rejections = _partition(rows, barred, embedded, loaded)
        new = [row for row in allowed if row.content.user_id not in embedded] if embedded else allowed
        if not dry_run:
            insert(cursor, [row.content for row in new], model)
            update(cursor, [row.content for row in allowed if row.content.user_id in embedded] if embedded else [], model)
        cursor.execute(NOTE_LOADED, _ids(allowed) if rejections else ids)
    return Stored([row.content.user_id for row in allowed], 0 if dry_run else len(new), rejections)


def _ids(rows: Sequence[Row]) -> dict[str, str]:
    """Return the ids as one array literal, which is faster to format than a list of a thousand values."""
    return {"ids": "{" + ",".join([row.content.user_id.hex for row in rows]) + "}"}


def _barred(cursor: CursorWrapper, ids: Mapping[str, str]) -> dict[UUID, Kind]:
    """Return the users that must not be loaded, and why.

    The rows of the other users are locked until the transaction ends.
    """
    cursor.execute(LOCK_USERS, ids)
    return {user_id: Kind(kind) for user_id, kind in cursor.fetchall()}


def _found(cursor: CursorWrapper, statement: str, ids: Mapping[str, str]) -> set[UUID]:
    cursor.execute(statement, ids)
    return {user_id for (user_id,) in cursor.fetchall()}


def _partition(
    rows: Sequence[Row], barred: Mapping[UUID, Kind], embedded: set[UUID], loaded: set[UUID]
) -> tuple[list[Row], dict[int, Rejection]]:
    """Return the rows to write, and the rejections by position."""
    if not barred and not loaded and _are_plain(rows):
        return list(rows), {}
    allowed, rejections = [], {}
    for position, row in enumerate(rows):
        problem = _problem(row.content, barred, embedded, loaded)
        if problem is None:
            loaded.add(row.content.user_id)
            allowed.append(row)
        else:
            rejections[position] = Rejection(row.file, row.line, *problem, row.original)
    return allowed, rejections


def _are_plain(rows: Sequence[Row]) -> bool:
    """Return whether each row has a vector and a different user, which is the usual case."""
    return len({row.content.user_id for row in rows}) == len(rows) and all(row.content.vector is not UNSET for row in rows)


def _problem(content: Content, barred: Mapping[UUID, Kind], embedded: set[UUID], loaded: set[UUID]) -> tuple[Kind, str] | None:
    user_id = content.user_id
    if user_id in barred:
        return barred[user_id], BARRED[barred[user_id]].format(repr(str(user_id)))
    if user_id in loaded:
        return Kind.SECOND_ROW, f"{str(user_id)!r} was loaded from an earlier row"
    if content.vector is UNSET and user_id not in embedded:
        return Kind.NO_VECTOR, f"{str(user_id)!r} has no embedding yet: the first row needs a vector"
    return None


def insert(cursor: CursorWrapper, contents: Sequence[Content], model: str) -> None:
    """Insert rows of users without an embedding, in the order of their ids, so concurrent loads of the same users do not deadlock.

    The users are locked. If one has an embedding by now, the transaction is repeated: call it within ``in_transaction``.
    """
    if not contents:
        return
    contents = sorted(contents, key=lambda content: content.user_id.int)
    vectors = np.stack([content.vector for content in contents if content.vector is not UNSET])
    user_ids = b"".join([content.user_id.bytes for content in contents])
    tails = _tails(contents, model.encode())
    try:
        copy_into(cursor, INSERT_NEW, binary_copy.lines_of_vectors(user_ids, vectors, tails, fields=6))
    except IntegrityError as error:
        if isinstance(error.__cause__, errors.UniqueViolation):
            raise _ConcurrentInsert from None
        raise


def _tails(contents: Sequence[Content], model: bytes) -> list[bytes]:
    """Return the fields after the vector for each row. Usually that is only the model."""
    bare = _tail(Content(contents[0].user_id), model)
    return [
        bare if content.location is content.interests is content.video_features is UNSET else _tail(content, model) for content in contents
    ]


def _tail(content: Content, model: bytes) -> bytes:
    location = None if content.location is UNSET else content.location
    interests = () if content.interests is UNSET else content.interests
    video_features = None if content.video_features is UNSET else content.video_features
    fields = [
        model,
        None if location is None else binary_copy.json(dict(zip(("lat", "lon"), location, strict=True))),
        binary_copy.texts(interests),
        None if video_features is None else binary_copy.reals(video_features),
    ]
    return binary_copy.fields(fields)


def update(cursor: CursorWrapper, contents: Sequence[Content], model: str) -> None:
    """Update rows of users whose embeddings are locked. Call it within ``staging()``."""
    if not contents:
        return
    cursor.execute("TRUNCATE embeddings_staged")
    copy_into(cursor, STAGE, b"".join([binary_copy.line(_staged(content)) for content in contents]))
    cursor.execute(UPDATE_EXISTING, [model])


def copy_into(cursor: CursorWrapper, statement: str, lines: bytes) -> None:
    """Run a binary COPY with these rows."""
    with connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write(binary_copy.BEGIN)
        copy.write(lines)
        copy.write(binary_copy.END)


def _staged(content: Content) -> list[bytes | None]:
    location = None if content.location is UNSET else content.location
    interests = None if content.interests is UNSET else content.interests
    video_features = None if content.video_features is UNSET else content.video_features
    return [
        content.user_id.bytes,
        None if content.vector is UNSET else binary_copy.reals(content.vector),
        binary_copy.boolean(content.location is not UNSET),
        None if location is None else binary_copy.double(location[0]),
        None if location is None else binary_copy.double(location[1]),
        binary_copy.boolean(content.interests is not UNSET),
        None if interests is None else binary_copy.texts(interests),
        binary_copy.boolean(content.video_features is not UNSET),
        None if video_features is None else binary_copy.reals(video_features),
    ]
