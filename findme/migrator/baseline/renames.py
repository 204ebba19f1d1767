"""Objects of the guide that have another name: the owner, or another version of PostgreSQL, named them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.step import Step, quote
from findme.migrator.table_locks import BLOCK_ALL

KINDS = {"constraints": "constraint", "indexes": "index", "triggers": "trigger"}


@dataclass(frozen=True, slots=True)
class Rename:
    """``kind`` is one of ``KINDS``: the name of the dictionary in ``Table``."""

    table: str
    kind: str
    old: str
    new: str

    @property
    def step(self) -> Step:
        table, old, new = map(quote, (self.table, self.old, self.new))
        statement = {
            "constraints": f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}",
            "indexes": f"ALTER INDEX {old} RENAME TO {new}",
            "triggers": f"ALTER TRIGGER {old} ON {table} RENAME TO {new}",
        }[self.kind]
        # Renaming an index blocks no writer.
        locks = () if self.kind == "indexes" else ((self.table, BLOCK_ALL),)
        return Step(f"{self.table}: rename the {KINDS[self.kind]} {self.old!r} to {self.new!r}", (statement,), locks)


def find_renames(existing: Table, target: Table, guide: Table) -> list[Rename]:
    """Return the objects of the guide that exist under another name than in the target. Other objects of the owner keep their names."""
    return [
        Rename(existing.name, kind, old, new)
        for kind in KINDS
        for old, new in _pairs(getattr(existing, kind), getattr(target, kind), getattr(guide, kind))
    ]


def _pairs(existing: Mapping[str, Any], target: Mapping[str, Any], guide: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    free = {name: one for name, one in existing.items() if name not in target}
    for name in target.keys() & guide.keys() - existing.keys():
        forms = {_form(target[name]), _form(guide[name])}
        old = next((other for other, one in sorted(free.items()) if _form(one) in forms), None)
        if old is not None:
            del free[old]
            yield old, name


def _form(found: Any) -> tuple[object, ...]:
    """Return what must be equal in two objects of one kind."""
    return found.definition, getattr(found, "kind", None), getattr(found, "unique", None)


def renamed(table: Table, renames: list[Rename]) -> Table:
    """Return the table as it is after the renames."""
    new = {(rename.kind, rename.old): rename.new for rename in renames}
    changed: dict[str, Any] = {
        kind: {new.get((kind, name), name): replace(one, name=new.get((kind, name), name)) for name, one in getattr(table, kind).items()}
        for kind in KINDS
    }
    return replace(table, **changed)
