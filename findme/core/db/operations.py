"""Migration operations that Django does not have: SQL files, and ON DELETE in the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import Error
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import RunSQL
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from psycopg import errors


class SqlFile(RunSQL):
    """Run SQL from a file, and the reverse SQL from another file.

    An error names the file, and the line if PostgreSQL reports a position.
    """

    def __init__(self, up: Path, down: Path) -> None:
        super().__init__(up.read_text(), down.read_text())
        self.up, self.down = up, down

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return type(self).__qualname__, (self.up, self.down), {}

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        with _located(self.up, str(self.sql)):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        with _located(self.down, str(self.reverse_sql)):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


def sql_file(name: str) -> SqlFile:
    """Return the operation for ``sql/<name>.up.sql`` in the folder of the calling migration.

    ``<name>.down.sql`` is the reverse.
    A released file never changes. A change needs a new pair of files in a new migration.
    """
    # inspect.stack would read the source of every caller, which takes most of the time of reading the migrations.
    folder = Path(sys._getframe(1).f_code.co_filename).parent / "sql"
    return SqlFile(folder / f"{name}.up.sql", folder / f"{name}.down.sql")


def sql_location(error: BaseException) -> str | None:
    """Return the file, and the line if known, of the SQL that raised ``error``. None for other SQL."""
    return next((note for note in getattr(error, "__notes__", ()) if isinstance(note, _Location)), None)


class _Location(str):
    """The note of an error with the location of its SQL."""

    __slots__ = ()


@contextmanager
def _located(file: Path, sql: str) -> Iterator[None]:
    try:
        yield
    except Error as error:
        cause = error.__cause__
        position = cause.diag.statement_position if isinstance(cause, errors.Error) else None
        line = f", line {sql.count(chr(10), 0, int(position) - 1) + 1}" if position else ""
        error.add_note(_Location(f"{'/'.join(file.parts[-4:])}{line}"))
        raise


class SetOnDelete(Operation):
    """Set ON DELETE in the database for a foreign key that Django created. The reverse removes it.

    For tables of Django, whose models this project does not define. The constraint keeps its name.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, table: str, column: str, on_delete: str = "CASCADE") -> None:
        self.table, self.column, self.on_delete = table, column, on_delete

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: Django's state has no ON DELETE."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._recreate(schema_editor, self.on_delete)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._recreate(schema_editor, "NO ACTION")

    def _recreate(self, schema_editor: BaseDatabaseSchemaEditor, on_delete: str) -> None:
        """Replace the constraint in one statement, so that the table is never without it."""
        quote = schema_editor.quote_name
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT c.conname, c.confrelid::regclass::text, f.attname
                FROM pg_constraint c
                JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
                JOIN pg_attribute f ON f.attrelid = c.confrelid AND c.confkey = ARRAY[f.attnum]
                WHERE c.contype = 'f' AND c.conrelid = %s::regclass AND a.attname = %s
                """,
                [self.table, self.column],
            )
            name, to_table, to_column = cursor.fetchone()
        schema_editor.execute(
            f"ALTER TABLE {quote(self.table)} DROP CONSTRAINT {quote(name)}, ADD CONSTRAINT {quote(name)}"
            f" FOREIGN KEY ({quote(self.column)}) REFERENCES {to_table} ({quote(to_column)})"
            f" ON DELETE {on_delete} DEFERRABLE INITIALLY DEFERRED"
        )

    def describe(self) -> str:
        return f"Set ON DELETE {self.on_delete} on {self.table} ({self.column})"
