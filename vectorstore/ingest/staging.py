"""From checked rows to ``profile_embeddings``: one short transaction a batch, by COPY into a temporary table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import errors

from vectorstore.ingest import binary_copy
from vectorstore.ingest.rows import UNSET, Content, Kind, Rejection, Row

ATTEMPTS = 5
"""At a batch that PostgreSQL ends because of others who write the same people at the same time."""

CREATE = """
CREATE TEMPORARY TABLE embeddings_loaded (user_id uuid PRIMARY KEY);
CREATE TEMPORARY TABLE embeddings_staged (
    user_id uuid, vector real[], has_location boolean, lat float8, lon float8, has_interests boolean, interests text[],
    has_video_features boolean, video_features real[]
);
-- Numbers do not compress: never try.
ALTER TABLE embeddings_staged ALTER COLUMN vector SET STORAGE EXTERNAL, ALTER COLUMN video_features SET STORAGE EXTERNAL;
"""
DROP = "DROP TABLE IF EXISTS pg_temp.embeddings_loaded, pg_temp.embeddings_staged"

# Locked in the order of the ids, like everywhere: whoever deletes, erases or anonymises one of these people waits for the batch, or the batch
# for them, and then sees what became of the person.
LOCK_PEOPLE = "SELECT id, deleted_at IS NULL FROM users WHERE id = ANY(%s) ORDER BY id FOR SHARE"
LOCK_EMBEDDINGS = "SELECT user_id FROM profile_embeddings WHERE user_id = ANY(%s) ORDER BY user_id FOR NO KEY UPDATE"
ALREADY_LOADED = "SELECT user_id FROM embeddings_loaded WHERE user_id = ANY(%s)"

INSERT_NEW = """
INSERT INTO profile_embeddings (user_id, vector, model, location, interests, video_features)
SELECT user_id, vector, %s, CASE WHEN lat IS NOT NULL THEN jsonb_build_object('lat', lat, 'lon', lon) END,
       coalesce(interests, '{}'), video_features
FROM embeddings_staged WHERE vector IS NOT NULL ORDER BY user_id
ON CONFLICT (user_id) DO NOTHING RETURNING user_id
"""
UPDATE_THE_OTHERS = """
UPDATE profile_embeddings AS kept
SET vector = coalesce(staged.vector, kept.vector),
    model = CASE WHEN staged.vector IS NULL THEN kept.model ELSE %s END,
    location = CASE WHEN NOT has_location THEN kept.location WHEN lat IS NOT NULL THEN jsonb_build_object('lat', lat, 'lon', lon) END,
    interests = CASE WHEN has_interests THEN staged.interests ELSE kept.interests END,
    video_features = CASE WHEN has_video_features THEN staged.video_features ELSE kept.video_features END
FROM embeddings_staged AS staged
WHERE kept.user_id = staged.user_id AND kept.user_id <> ALL(%s)
"""


class _Disturbed(Exception):
    """Somebody else made a row of the batch in between, which is not locked: two who then update such rows can wait for one another."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: the ids that were written (NEW of them had no row), and, by their position, the rows that may not be."""

    loaded: list[UUID]
    new: int
    rejections: dict[int, Rejection]


@contextmanager
def staging() -> Iterator[None]:
    """The temporary tables of one run: what is staged, and the ids that this run has loaded."""
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
    """Write the rows in one transaction of their own, but for those that must not be; DRY_RUN only finds out which. Call it within
    ``staging()``."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic(durable=True):
                return _store(rows, model, dry_run)
        except _Disturbed:
            if attempt == ATTEMPTS:
                raise OperationalError(f"a batch was disturbed {ATTEMPTS} times by others who write the same embeddings") from None
        except OperationalError as error:
            if attempt == ATTEMPTS or not isinstance(error.__cause__, errors.DeadlockDetected):
                raise
    raise AssertionError("the last attempt returns or raises")


def _store(rows: Sequence[Row], model: str, dry_run: bool) -> Stored:
    with connection.cursor() as cursor:
        alive = _locked_people(cursor, rows)
        embedded = _found(cursor, LOCK_EMBEDDINGS, rows)
        loaded = _found(cursor, ALREADY_LOADED, rows)
    allowed, rejections = _sorted_out(rows, alive, embedded, loaded)
    new = 0 if dry_run else _write(allowed, embedded, model)
    written = [row.content.user_id for row in allowed]
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO embeddings_loaded SELECT unnest(%s::uuid[])", [written])
    return Stored(written, new, rejections)


def _locked_people(cursor: CursorWrapper, rows: Sequence[Row]) -> dict[UUID, bool]:
    """Whether each of the people who are known is alive; they stay so until the batch is committed."""
    cursor.execute(LOCK_PEOPLE, [[row.content.user_id for row in rows]])
    return dict(cursor.fetchall())


def _found(cursor: CursorWrapper, statement: str, rows: Sequence[Row]) -> set[UUID]:
    cursor.execute(statement, [[row.content.user_id for row in rows]])
    return {user_id for (user_id,) in cursor.fetchall()}


def _sorted_out(
    rows: Sequence[Row], alive: Mapping[UUID, bool], embedded: set[UUID], loaded: set[UUID]
) -> tuple[list[Row], dict[int, Rejection]]:
    """The rows that may be written, and the others by their position; adds the former to LOADED."""
    allowed, rejections = [], {}
    for position, row in enumerate(rows):
        fault = _fault(row.content, alive, embedded, loaded)
        if fault is None:
            loaded.add(row.content.user_id)
            allowed.append(row)
        else:
            rejections[position] = Rejection(row.file, row.line, *fault, row.original)
    return allowed, rejections


def _fault(content: Content, alive: Mapping[UUID, bool], embedded: set[UUID], loaded: set[UUID]) -> tuple[Kind, str] | None:
    user_id = content.user_id
    if user_id not in alive:
        return Kind.UNKNOWN_PERSON, f"nobody has the id {str(user_id)!r}"
    if not alive[user_id]:
        return Kind.ERASED_PERSON, f"{str(user_id)!r} is deleted"
    if user_id in loaded:
        return Kind.SECOND_ROW, f"{str(user_id)!r} was loaded from an earlier row"
    if content.vector is UNSET and user_id not in embedded:
        return Kind.NO_VECTOR, f"{str(user_id)!r} has no embedding yet: a first row needs a vector"
    return None


def _write(rows: Sequence[Row], embedded: set[UUID], model: str) -> int:
    """How many of the people had no row; the rows of the EMBEDDED are locked. Raises _Disturbed."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE embeddings_staged")
        with connection.wrap_database_errors, cursor.copy("COPY embeddings_staged FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(binary_copy.BEGIN)
            for row in rows:
                copy.write(binary_copy.line(_staged(row.content)))
            copy.write(binary_copy.END)
        cursor.execute(INSERT_NEW, [model])
        new = {user_id for (user_id,) in cursor.fetchall()}
        if new != {row.content.user_id for row in rows} - embedded:
            raise _Disturbed
        cursor.execute(UPDATE_THE_OTHERS, [model, list(new)])
    return len(new)


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
