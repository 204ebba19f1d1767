"""The counts of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SHOWN_FINDINGS = 20


@dataclass(slots=True)
class Imported:
    """Counts of one pass over a collection, in points.

    ``read`` is the sum of the counts from ``imported`` to ``rejected``. With ``dry_run``, they say what an import would do.

    - ``collection``, ``alias``, ``vector``: the real collection, the name as given if it is an alias, and the name of the vector.
    - ``normalized``: the server has stored the vectors with length 1, because of cosine distance.
    - ``continued_after``: the last point of an interrupted run, whose counts are included. None: this run read all points.
    - ``imported``: new rows. ``updated``: rows that had not changed since the last import. ``replaced``: conflicts that the point won.
    - ``unchanged``: rows that equal their point. ``kept``: only PostgreSQL has changed since the last import.
    - ``own``: points that this database has written from its rows.
    - ``invalid_fields``: fields of imported points that were left out. ``differing_fields``: fields that differ from ``users``, which decides.
    - ``users_without_point``: users who are neither deleted nor staff. None: not counted, because the run did not reach the end.
    """

    collection: str = ""
    alias: str | None = None
    vector: str = ""
    normalized: bool = False
    dry_run: bool = False
    continued_after: str | None = None
    read: int = 0
    imported: int = 0
    updated: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: int = 0
    own: int = 0
    conflicts: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    invalid_fields: dict[str, int] = field(default_factory=dict)
    differing_fields: dict[str, int] = field(default_factory=dict)
    users_with_point: int = 0
    users_without_point: int | None = None
    first_findings: list[str] = field(default_factory=list)
    shortened_rejects: int = 0
    omitted_rejects: int = 0

    @property
    def clean(self) -> bool:
        return not (self.conflicts or self.rejected or self.invalid_fields)

    @property
    def written(self) -> int:
        """Return how many rows were written."""
        return self.imported + self.updated + self.replaced

    def stored_counts(self) -> dict[str, Any]:
        """Return the counts that an interrupted run leaves to the next one."""
        return {name: getattr(self, name) for name in STORED}

    def add_stored(self, counts: Mapping[str, Any]) -> None:
        """Set the counts of an interrupted run."""
        for name in STORED:
            if name in counts:
                setattr(self, name, counts[name])

    def add_finding(self, text: str) -> None:
        if len(self.first_findings) < SHOWN_FINDINGS:
            self.first_findings.append(text)


def increase(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by


STORED = tuple(one.name for one in fields(Imported) if one.type in ("int", "dict[str, int]"))
