"""What the conversion creates under a temporary name, and replaces in its last steps.

A conversion that was killed may leave some. An object of the owner can have such a name too, so the definition decides.
"""

from __future__ import annotations

from findme.migrator.baseline.catalog import Constraint, Index, Table
from findme.migrator.baseline.step import not_null_name, temporary_name

DEFERRED = " DEFERRABLE INITIALLY DEFERRED"
CHECK, FOREIGN_KEY = "c", "f"


def temporary_constraints(found: Table, target: Table) -> dict[str, str]:
    """Return the temporary constraints of the conversion, by name, with their definitions as PostgreSQL prints them."""
    replaced = {
        temporary_name(name): one.definition
        for name, one in target.constraints.items()
        if name in found.constraints and is_replaced(found.constraints[name], one)
    }
    return replaced | {not_null_name(found.name, name): f"CHECK (({name} IS NOT NULL))" for name in nullable_columns(found, target)}


def temporary_indexes(found: Table, guide: Table, target: Table) -> dict[str, Index]:
    """Return the new forms of the guide's indexes by their temporary names."""
    return {
        temporary_name(name): one
        for name, one in target.indexes.items()
        if name in found.indexes
        and name in guide.indexes
        and found.indexes[name].is_like(guide.indexes[name])
        and not guide.indexes[name].is_like(one)
    }


def nullable_columns(found: Table, target: Table) -> list[str]:
    """Return the existing columns that become NOT NULL."""
    return [
        name for name, column in target.columns.items() if column.not_null and name in found.columns and not found.columns[name].not_null
    ]


def is_replaced(found: Constraint, target: Constraint) -> bool:
    """Return whether a new constraint must replace the one of the guide."""
    return target.kind in (CHECK, FOREIGN_KEY) and found.definition != target.definition and not is_deferred_only(found, target)


def is_deferred_only(found: Constraint, target: Constraint) -> bool:
    """Return whether the foreign key only becomes deferrable: PostgreSQL changes that without reading a row."""
    return target.kind == FOREIGN_KEY and target.definition == f"{found.definition}{DEFERRED}"
