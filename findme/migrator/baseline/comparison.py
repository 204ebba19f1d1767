"""Compare the tables after the conversion with those of a fresh ``migrate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from findme.migrator.baseline.catalog import Table

KINDS = {"columns": "column", "constraints": "constraint", "indexes": "index", "triggers": "trigger"}


def remaining_differences(existing: Mapping[str, Table], target: Mapping[str, Table]) -> list[str]:
    """Return each object of the target that is missing or different: ``index users.idx_users_email: missing``.

    The owner's own objects, and the order of columns, are no difference.
    """
    return [difference for name, table in target.items() for difference in _differences(existing.get(name), table)]


def _differences(existing: Table | None, target: Table) -> Iterator[str]:
    if existing is None:
        yield f"table {target.name}: missing"
        return
    for kind, noun in KINDS.items():
        found = getattr(existing, kind)
        for name, expected in getattr(target, kind).items():
            if found.get(name) != expected:
                yield f"{noun} {target.name}.{name}: {'different' if name in found else 'missing'}"
