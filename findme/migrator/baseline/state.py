"""The baseline of a database: the migrations whose tables existed before FindMe, in the table ``schema_baseline``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError

_ADD = """
    INSERT INTO schema_baseline AS known (migrations) VALUES (ARRAY[%s])
    ON CONFLICT (id) DO UPDATE SET migrations = known.migrations || excluded.migrations WHERE NOT known.migrations @> excluded.migrations
"""


@dataclass(frozen=True, slots=True)
class Baseline:
    """``migrations`` are ``app.name``, in the order in which they were recorded. ``completed_at`` is None while ``baseline`` must run again."""

    migrations: tuple[str, ...]
    started_at: datetime
    completed_at: datetime | None

    def refuse_undo(self, undone: tuple[str, ...]) -> None:
        """Raise UserFacingError if one of the migrations ``undone``, in this order, belongs to the baseline."""
        kept = next((position for position, migration in enumerate(undone) if migration in self.migrations), None)
        if kept is not None:
            later = (
                f"Undo at most the {kept} later ones." if kept else "To leave FindMe, restore a backup or drop its other tables by hand."
            )
            raise UserFacingError(
                f"{undone[kept]} belongs to the baseline: its tables existed before FindMe and are not dropped; nothing was undone. {later}"
            )


def read_baseline(connection: BaseDatabaseWrapper) -> Baseline | None:
    """Return the baseline, or None if ``baseline`` has recorded no migration in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_baseline') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return None
        cursor.execute("SELECT migrations, started_at, completed_at FROM schema_baseline")
        row = cursor.fetchone()
    return None if row is None else Baseline(tuple(row[0]), *row[1:])


def add_to_baseline(connection: BaseDatabaseWrapper, migration: str) -> None:
    """Add ``migration`` in the current transaction, the one that records it as applied."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [migration])


def complete_baseline(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE schema_baseline SET completed_at = now() WHERE completed_at IS NULL")
