"""Which backups stay: the newest one of each of the last days, weeks and months."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from backups.manifest import Manifest

Period = Callable[[datetime], Hashable]


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days, ISO weeks and months keep a backup. Only those that have one are counted, so a pause in the backups deletes nothing."""

    daily: int
    weekly: int
    monthly: int

    def periods(self) -> tuple[tuple[Period, int], ...]:
        return (_day, self.daily), (_week, self.weekly), (_month, self.monthly)


def kept(manifests: Iterable[Manifest], keep: Keep) -> frozenset[str]:
    """Return the names of the backups that stay. The time is the manifest's, in UTC.

    A backup of one store, or of some tables, does not stand for a whole one: each kind, and each database, is counted by itself. The newest whole backup
    of each database always stays.
    """
    kinds: dict[tuple[str, bool, str, tuple[str, ...]], list[Manifest]] = {}
    for one in sorted(manifests, key=lambda one: (one.taken_at, one.name), reverse=True):
        kinds.setdefault((one.database.identity, one.is_complete, one.only, tuple(sorted(one.tables))), []).append(one)
    names = {one.name for found in kinds.values() for period, count in keep.periods() for one in _newest(found, period, count)}
    return frozenset(names | {found[0].name for (_, is_complete, *_), found in kinds.items() if is_complete})


def _newest(manifests: Iterable[Manifest], period: Period, count: int) -> list[Manifest]:
    """Return the first backup of each of the first ``count`` periods. ``manifests`` begin with the newest one."""
    found: dict[Hashable, Manifest] = {}
    for one in manifests:
        found.setdefault(period(one.taken_at.astimezone(UTC)), one)
    return list(found.values())[:count]


def _day(time: datetime) -> Hashable:
    return time.date()


def _week(time: datetime) -> Hashable:
    return time.isocalendar()[:2]


def _month(time: datetime) -> Hashable:
    return time.year, time.month
