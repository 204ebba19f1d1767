"""Shared by the tests of ``rollback`` and of ``migrate APP EARLIER``: rows to lose, and a terminal that answers the question."""

from __future__ import annotations

from collections.abc import Callable

from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import schema_version
from tests.support.database import Database

PERSON = "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender) VALUES ('ann@example.org', '', 'Ann', '1990-01-01', 'female')"
VIDEO = "INSERT INTO videos (user_id, storage_url, duration, file_size) SELECT id, 's3://a', 30, 1 FROM users"


class Terminal:
    """A terminal where the operator types ``text`` after ``meanwhile`` has run."""

    def __init__(self, text: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.text, self.meanwhile = text, meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        self.meanwhile()
        return self.text


def up_to(database: Database, last: str) -> Database:
    """Undo with Django's executor all migrations that were applied after ``last``."""
    history = [applied.description for applied in schema_version().history]
    if after := history[history.index(last) + 1 :]:
        roll_back(plan_rollback(len(after)), force=True)
    return database
