"""The contents of a certificate: what was destroyed where and when, what was kept, what is not purged yet, and the place in the ledger.

A certificate has no personal data: ids of the request only, names of tables and stores, counts, days and digests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

CERTIFICATE = "FindMe erasure"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the erasure. ``waits_for`` and ``waits_until`` say what an open step waits for."""

    step: str
    done_at: datetime | None
    count: int
    waits_for: str
    waits_until: datetime | None


@dataclass(frozen=True, slots=True)
class HeldData:
    """Data of one section that the plan left because of a hold, and the letter of article 17 (3), such as ``17_3_b``."""

    section: str
    ground: str
    count: int


@dataclass(frozen=True, slots=True)
class ActiveHold:
    """A hold that was active when the certificate was issued. ``until`` is its last day, or None: until it is released."""

    section: str
    ground: str
    until: date | None


@dataclass(frozen=True, slots=True)
class Planned:
    """The counts of the plan that was approved, by table or store."""

    deleted: dict[str, int]
    cleared: dict[str, int]
    kept: dict[str, int]
    stores: dict[str, int]
    holds: tuple[HeldData, ...]
    files_deleted: int
    files_kept: int

    @classmethod
    def of(cls, plan: dict[str, int]) -> Planned:
        """Return the plan of ``privacy.models.Erasure``, whose names have their kind before the first point."""
        holds = tuple(
            HeldData(section, ground, count) for name, count in _under(plan, "hold").items() for section, ground in [name.split(".")]
        )
        return cls(
            **{kind: _under(plan, kind) for kind in ("deleted", "cleared", "kept")},
            stores=_under(plan, "store"),
            holds=holds,
            files_deleted=plan.get("files_deleted", 0),
            files_kept=plan.get("files_kept", 0),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the ledger: its position and its SHA-256 in hex."""

    position: int
    digest: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """``entry`` is the one of the erasure, and ``head`` the last one when the certificate was issued.

    ``is_erased`` means that no one can reach the data, and ``is_purged`` that no byte is left. ``open_steps`` say what is missing, and until when.
    """

    certificate: str
    version: int
    request: str
    issued_at: datetime
    is_erased: bool
    is_purged: bool
    sealed_at: datetime
    erased_at: datetime | None
    purged_at: datetime | None
    plan: Planned
    plan_digest: str
    policy_version: int
    steps: tuple[Step, ...]
    open_steps: tuple[str, ...]
    holds: tuple[ActiveHold, ...]
    entry: Place
    head: Place


def _under(plan: dict[str, int], kind: str) -> dict[str, int]:
    return {name.partition(".")[2]: count for name, count in sorted(plan.items()) if name.startswith(f"{kind}.")}


def open_steps(steps: Iterable[Step]) -> tuple[str, ...]:
    return tuple(step.step for step in steps if step.done_at is None)
