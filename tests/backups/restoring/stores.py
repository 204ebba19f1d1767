"""Two databases and a Qdrant in files, for tests of the switch. Imports no test framework: a process of a test uses it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.scratch import PREFIX, connection_to
from backups.restoring.journal import Journal
from backups.restoring.switch import begin, note_scratch
from tests.support.database import Database, database

ALIAS, OLD, NEW = "profiles", "profiles_v1", "profiles_v2"


@dataclass
class Qdrant:
    """The alias and the collections of a Qdrant, as files of a folder, so that they outlive a killed process."""

    folder: Path
    fails: bool = False
    """Whether it is unavailable."""

    def fill(self, alias: str | None = OLD) -> None:
        for name in filter(None, {alias, NEW}):
            (self.folder / name).touch()
        self._point(alias)

    def alias(self) -> str | None:
        with suppress(FileNotFoundError):
            return (self.folder / ".alias").read_text()
        return None

    def collections(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))

    def is_complete(self) -> bool:
        return (self.folder / ".complete").exists()

    def move_alias(self, alias: str, *, before: str | None, after: str | None) -> None:
        assert alias == ALIAS
        self._answer()
        if self.alias() == before:
            self._point(after)

    def drop_collection(self, name: str) -> None:
        self._answer()
        if self.alias() != name:
            (self.folder / name).unlink(missing_ok=True)

    def complete(self) -> None:
        self._answer()
        (self.folder / ".complete").touch()

    def _answer(self) -> None:
        if self.fails:
            raise RuntimeError("Qdrant is unavailable.")

    def _point(self, collection: str | None) -> None:
        """Qdrant changes an alias in one step."""
        if collection is None:
            (self.folder / ".alias").unlink(missing_ok=True)
        else:
            (self.folder / ".new").write_text(collection)
            (self.folder / ".new").replace(self.folder / ".alias")


class Service(NamedTuple):
    """What a client finds: the text in the live database, and whether its PostgreSQL and its Qdrant are of one restore."""

    text: str | None
    alias: str | None


def scratch_name(key: int) -> str:
    return f"{PREFIX}{key:016x}"


@contextmanager
def restored(live: Database, name: str) -> Iterator[Database]:
    """Create the scratch database ``name``, in which the table ``served`` says so. What a test has made of both is dropped."""
    server = Database("postgres")
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    scratch = Database(name)
    try:
        scratch.execute("CREATE TABLE served AS SELECT 'restored' AS text")
        server.execute(f"COMMENT ON DATABASE {name} IS 'FindMe restore. The next run drops it if this one was killed.'")
        yield scratch
    finally:
        for found in server.query("SELECT datname FROM pg_database WHERE datname = %s OR datname LIKE %s", name, f"{live.name}_before_%"):
            server.execute(f"DROP DATABASE IF EXISTS {found} WITH (FORCE)")


@contextmanager
def served() -> Iterator[Database]:
    """Create a live database, in which the table ``served`` says that it is the old one."""
    with database() as live:
        live.execute("CREATE TABLE served AS SELECT 'old' AS text")
        yield live


def connection_of(live: Database) -> BaseDatabaseWrapper:
    return connection_to(connection, live.name)


def start_restore(journal: Journal, live: Database, scratch: str) -> None:
    """Note a restore that has made everything before the switch."""
    begin(journal, connection_of(live), "a-backup")
    with closing(connection_of(Database(scratch))) as session:
        note_scratch(journal, session)
    journal.note(alias=ALIAS, old_collection=OLD, new_collection=NEW)


def raising(message: str) -> Callable[..., NoReturn]:
    """Return a function that raises an error whatever its arguments are."""

    def call(*_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError(message)

    return call
