"""What ``recognize`` found in a database that has tables of the migration guide."""

from __future__ import annotations

from dataclasses import dataclass, field

from findme.migrator.baseline.catalog import Table


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is neither as in the guide nor as the migrations create it.

    ``subject`` names it: ``column users.email``. ``statement`` is what to type in ``manage.py dbshell``.
    """

    subject: str
    found: str
    expected: str
    statement: str

    def __str__(self) -> str:
        return f"{self.subject}: found {self.found}, expected {self.expected}. To correct it: {self.statement}"


@dataclass(frozen=True, slots=True)
class Recognized:
    """The tables of the guide in one schema. Each object of ``tables`` is in the guide's form or in that of the migrations.

    The three dictionaries are by table. ``guide`` and ``target`` have all four tables: as the guide creates them, and as a fresh ``migrate``
    does. ``version`` is that of golang-migrate, or None if the database has no table ``schema_migrations``.
    """

    schema: str
    tables: dict[str, Table]
    guide: dict[str, Table] = field(default_factory=dict)
    target: dict[str, Table] = field(default_factory=dict)
    version: int | None = None
    differences: tuple[Difference, ...] = ()
    kept: tuple[str, ...] = ()
    """The owner's own columns, constraints, indexes, triggers and tables: ``column users.phone``."""
    is_adopted: bool = False
    """Whether the migrations created the tables, or ``baseline`` has ended. Then there is nothing to do, and only ``schema`` and ``tables`` are read."""
