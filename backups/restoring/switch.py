"""The switch from the live database and collection to the restored ones, and what the next run does with a restore that was killed.

From its begin to its end no session is in either database, so no client sees one store before the switch and the other after it. The catalog tells whether
PostgreSQL has switched: it renames both databases in one transaction, and the journal has their oids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.scratch import drop_abandoned_databases
from backups.postgresql.tables import quoted
from backups.restoring.journal import HOW_TO_CHECK, Entry, Journal
from backups.restoring.maintenance import (
    allow_connections,
    comment_statement,
    exchange,
    exclusive,
    execute,
    find,
    maintenance_session,
    name_of,
    system_identifier,
)
from backups.restoring.rights import in_use
from findme.core.commands.signals import without_interruption
from findme.core.errors import UserFacingError, without_detail
from findme.migrator.lock import require_own_session

LONGEST_NAME = 63
"""Bytes of the longest name in PostgreSQL."""
AGAIN_SECONDS = 30.0
"""How long to try to connect again, so that no error leaves a database without connections."""
REPLACED = re.compile(r"FindMe restore: it was (?P<name>\"(?:[^\"\\]|\\.)*\") until (?P<at>\S+)\. manage\.py restore --drop-old drops it\.")
"""The comment on an old database."""


class QdrantActions(Protocol):
    """What the switch does in Qdrant. Each can be repeated, and does nothing if it was done before."""

    def move_alias(self, alias: str, *, before: str | None, after: str | None) -> None:
        """Let ``alias`` point to ``after`` if it points to ``before``. None is no alias. Leave an alias that points to another collection."""

    def drop_collection(self, name: str) -> None:
        """Drop the collection. Leave one that an alias points to."""

    def complete(self) -> None:
        """Write the rows about the collections, now that the restored database has the live name and accepts connections."""


class NotFinished(UserFacingError):
    """The restore is neither finished nor undone. The journal has what is left, and the next run does it."""


def begin(journal: Journal, connection: BaseDatabaseWrapper, backup: str) -> Entry:
    """Note in the journal that a restore of ``backup`` begins, over the database of ``connection``, which may not exist."""
    name = name_of(connection)
    with maintenance_session(connection, name) as session:
        live = find(session, name)
        return journal.begin(
            backup=backup,
            system_identifier=system_identifier(session),
            live_name=name,
            live_oid=None if live is None else live.oid,
        )


def note_scratch(journal: Journal, scratch: BaseDatabaseWrapper) -> Entry:
    """Note the scratch database, which exists. The advisory lock of its name finds it if the process is killed before."""
    name = name_of(scratch)
    found = find(scratch, name)
    return journal.note(scratch_name=name, scratch_oid=None if found is None else found.oid)


def switch(journal: Journal, connection: BaseDatabaseWrapper, qdrant: QdrantActions) -> str | None:
    """Give the scratch database and the new collection of the journal the place of the live ones, and end the restore.

    Return the new name of the old database, None if there was none. All sessions in both databases end, also those of this process.
    After an exception all is as before, and the scratch database and the new collection are dropped. NotFinished says that this was not possible, or that
    the restored database serves, but that something is left to do.
    """
    entry = journal.current()
    connection.close()
    try:
        with _locked_session(connection, entry) as session:
            _require_unchanged(session, entry)
            entry = journal.note(phase="switching", old_name=_free_name(session, entry))
            _close(session, entry)
            _rename(session, entry)
            _move_alias(qdrant, entry)
    except BaseException as error:
        with without_interruption():
            _undo_after(error, journal, connection, qdrant)
        raise
    _finish_switch(journal, connection, qdrant)
    return entry.old_name


def recover(journal: Journal, connection: BaseDatabaseWrapper, qdrant: QdrantActions) -> str | None:
    """Finish or undo the restore that the journal has. Return a sentence that says which, or None if there is none.

    A restore whose databases were renamed is finished, any other one is undone. Raises UserFacingError if neither is safe.
    """
    entry = journal.entry
    if entry is None:
        return None
    with maintenance_session(connection, entry.live_name, AGAIN_SECONDS) as session:
        require_own_session(session)
        with exclusive(session):
            return _recover(session, journal, qdrant)


def _recover(session: BaseDatabaseWrapper, journal: Journal, qdrant: QdrantActions) -> str:
    entry = journal.current()
    if system_identifier(session) != entry.system_identifier:
        raise UserFacingError(
            f"The journal {str(journal.path)!r} has {entry}, on another server: nothing was changed."
            " Set DATABASE_URL to that server and run the command again."
        )
    if _is_switched(session, entry):
        _finish(session, journal, qdrant)
        return _capitalized(f"{entry} was finished: {entry.live_name!r} is the restored database{_old_is(entry)}.")
    if entry.phase == "switching" and not _is_unchanged(session, entry):
        raise UserFacingError(
            f"The databases of {entry} were renamed or dropped by hand: nothing was changed. {HOW_TO_CHECK} It is {str(journal.path)!r}."
        )
    _go_back(session, journal, qdrant)
    return _capitalized(f"{entry} was undone: {entry.live_name!r} is as before.")


def replaced_comment(name: str, at: datetime) -> str:
    return f"FindMe restore: it was {json.dumps(name, ensure_ascii=False)} until {at:%Y-%m-%dT%H:%M:%SZ}. manage.py restore --drop-old drops it."


@contextmanager
def _locked_session(connection: BaseDatabaseWrapper, entry: Entry, seconds: float = 0) -> Iterator[BaseDatabaseWrapper]:
    with maintenance_session(connection, entry.live_name, seconds) as session, exclusive(session):
        yield session


def _require_unchanged(session: BaseDatabaseWrapper, entry: Entry) -> None:
    scratch = None if entry.scratch_name is None else find(session, entry.scratch_name)
    if scratch is None or scratch.oid != entry.scratch_oid or not _is_unchanged(session, entry):
        raise UserFacingError(
            f"The database {entry.live_name!r} was changed since the restore began: nothing was switched. Run restore again."
        )
    for problem in in_use(session, entry.live_name):
        raise UserFacingError(problem)


def _is_switched(session: BaseDatabaseWrapper, entry: Entry) -> bool:
    found = find(session, entry.live_name)
    return found is not None and found.oid == entry.scratch_oid


def _is_unchanged(session: BaseDatabaseWrapper, entry: Entry) -> bool:
    found = find(session, entry.live_name)
    return (None if found is None else found.oid) == entry.live_oid


def _free_name(session: BaseDatabaseWrapper, entry: Entry) -> str | None:
    """Return the name that the old database gets, None if there is no old database."""
    if entry.live_oid is None:
        return None
    at = f"_before_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    for end in (at, *(f"{at}_{number}" for number in range(2, 1000))):
        name = entry.live_name.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end
        if find(session, name) is None:
            return name
    raise UserFacingError(f"No name is free for the old database of {entry.live_name!r}: nothing was switched. Run restore --drop-old.")


def _close(session: BaseDatabaseWrapper, entry: Entry) -> None:
    assert entry.scratch_name is not None
    if entry.live_oid is not None:
        allow_connections(session, entry.live_name, False)
    allow_connections(session, entry.scratch_name, False)


def _rename(session: BaseDatabaseWrapper, entry: Entry) -> None:
    assert entry.scratch_name is not None
    live = find(session, entry.live_name)
    statements = [f"ALTER DATABASE {quoted(entry.scratch_name)} RENAME TO {quoted(entry.live_name)}"]
    if entry.old_name is not None:
        statements = [
            f"ALTER DATABASE {quoted(entry.live_name)} RENAME TO {quoted(entry.old_name)}",
            comment_statement(entry.old_name, replaced_comment(entry.live_name, datetime.now(UTC))),
            *statements,
        ]
    # The comment on the scratch database says that the next run drops it.
    statements.append(comment_statement(entry.live_name, None if live is None else live.comment))
    exchange(session, [entry.live_name, entry.scratch_name], statements)


def _rename_back(session: BaseDatabaseWrapper, entry: Entry) -> None:
    assert entry.scratch_name is not None
    restored = find(session, entry.live_name)
    statements = [f"ALTER DATABASE {quoted(entry.live_name)} RENAME TO {quoted(entry.scratch_name)}"]
    if entry.old_name is not None:
        statements += [
            f"ALTER DATABASE {quoted(entry.old_name)} RENAME TO {quoted(entry.live_name)}",
            comment_statement(entry.live_name, None if restored is None else restored.comment),
        ]
    exchange(session, [name for name in (entry.live_name, entry.old_name) if name is not None], statements)


def _move_alias(qdrant: QdrantActions, entry: Entry, *, back: bool = False) -> None:
    if entry.alias is not None and entry.new_collection is not None:
        ends = (entry.old_collection, entry.new_collection)
        before, after = reversed(ends) if back else ends
        qdrant.move_alias(entry.alias, before=before, after=after)


def _finish_switch(journal: Journal, connection: BaseDatabaseWrapper, qdrant: QdrantActions) -> None:
    """Finish what ``switch`` has begun. Going back would lose what clients write to the restored database from here on."""
    entry = journal.current()
    try:
        with _locked_session(connection, entry, AGAIN_SECONDS) as session:
            _finish(session, journal, qdrant)
    except BaseException as error:
        with without_interruption(), suppress(Exception), _locked_session(connection, entry, AGAIN_SECONDS) as session:
            allow_connections(session, entry.live_name, True)
        if not isinstance(error, Exception):
            raise
        raise NotFinished(
            f"The restored database serves, but the restore has not ended: {without_detail(error)}. Run restore again: it does what is left."
        ) from error


def _finish(session: BaseDatabaseWrapper, journal: Journal, qdrant: QdrantActions) -> None:
    """End a restore whose databases were renamed. The restored database accepts connections, also if Qdrant does not answer."""
    entry = journal.current()
    with without_interruption():
        try:
            _move_alias(qdrant, entry)
        finally:
            allow_connections(session, entry.live_name, True)
    qdrant.complete()
    journal.remove_folders()
    journal.end()


def _undo_after(error: BaseException, journal: Journal, connection: BaseDatabaseWrapper, qdrant: QdrantActions) -> None:
    """Go back after an exception, by another session: a COMMIT without an answer may have been done, and a lost session may still run."""
    entry = journal.current()
    try:
        with _locked_session(connection, entry, AGAIN_SECONDS) as session:
            if _is_switched(session, entry):
                # No client was in the restored database: it accepts no connections yet.
                _rename_back(session, entry)
            _go_back(session, journal, qdrant)
    except Exception as second:  # noqa: BLE001  # both are in the text
        raise NotFinished(
            f"The switch failed: {without_detail(error)}. Going back failed too: {without_detail(second)}. Run restore again:"
            " it finishes or undoes the switch."
        ) from error


def _go_back(session: BaseDatabaseWrapper, journal: Journal, qdrant: QdrantActions) -> None:
    """Undo a restore whose databases have their old names. The live database accepts connections, also if Qdrant does not answer."""
    entry = journal.current()
    if entry.phase == "switching":
        with without_interruption():
            try:
                _move_alias(qdrant, entry, back=True)
            finally:
                if entry.live_oid is not None:
                    allow_connections(session, entry.live_name, True)
    if entry.scratch_name is not None:
        found = find(session, entry.scratch_name)
        if found is not None and found.oid == entry.scratch_oid:
            execute(session, f"DROP DATABASE IF EXISTS {quoted(entry.scratch_name)} WITH (FORCE)")
    # A process that was killed right after CREATE DATABASE has not noted the name.
    drop_abandoned_databases(session, of=entry.live_name)
    if entry.new_collection is not None:
        qdrant.drop_collection(entry.new_collection)
    journal.remove_folders()
    journal.end()


def _old_is(entry: Entry) -> str:
    return "" if entry.old_name is None else f", and the one before it is {entry.old_name!r}"


def _capitalized(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
