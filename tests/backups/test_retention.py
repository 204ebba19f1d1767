from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from backups.manifest import Database
from backups.retention import Keep, kept
from tests.backups.manifests import manifest

if TYPE_CHECKING:
    from backups.manifest import Manifest

EMPTY = Keep(0, 0, 0)


def at(time: str, **changes: Any) -> Manifest:
    """Return a backup of PostgreSQL's snapshot at this time, in UTC, which is its name too."""
    whole = manifest()
    assert whole.postgresql is not None
    moment = datetime.fromisoformat(time).replace(tzinfo=UTC)
    one = replace(whole, name=time.replace(":", "."), postgresql=replace(whole.postgresql, snapshot_at=moment), qdrant=None)
    return replace(one, **changes)


def names(*times: str) -> set[str]:
    return {time.replace(":", ".") for time in times}


def test_kept__daily__the_newest_of_each_day() -> None:
    found = [at(time) for time in ("2026-11-30T01:00", "2026-11-30T23:59", "2026-12-01T00:00", "2026-12-01T03:00")]
    assert kept(found, replace(EMPTY, daily=1)) == names("2026-12-01T03:00")
    assert kept(found, replace(EMPTY, daily=2)) == names("2026-11-30T23:59", "2026-12-01T03:00")
    assert kept(found, replace(EMPTY, daily=9)) == names("2026-11-30T23:59", "2026-12-01T03:00")


def test_kept__weekly__an_iso_week_can_have_days_of_two_years() -> None:
    found = [at(time) for time in ("2026-12-20T00:00", "2026-12-28T00:00", "2027-01-03T23:00", "2027-01-04T00:00")]
    assert kept(found, replace(EMPTY, weekly=2)) == names("2027-01-03T23:00", "2027-01-04T00:00")
    assert kept(found, replace(EMPTY, weekly=3)) == names("2026-12-20T00:00", "2027-01-03T23:00", "2027-01-04T00:00")


def test_kept__monthly__the_same_month_of_another_year_is_another_one() -> None:
    found = [at(time) for time in ("2025-12-01T00:00", "2026-12-01T00:00", "2026-12-31T00:00")]
    assert kept(found, replace(EMPTY, monthly=5)) == names("2025-12-01T00:00", "2026-12-31T00:00")


def test_kept__other_time_zone__the_day_is_that_of_utc() -> None:
    one = at("2026-12-01T00:30")
    assert one.postgresql is not None
    moment = one.postgresql.snapshot_at.astimezone(datetime.fromisoformat("2026-01-01T00:00-08:00").tzinfo)
    elsewhere = replace(one, name="elsewhere", postgresql=replace(one.postgresql, snapshot_at=moment + timedelta(minutes=1)))
    assert kept([one, elsewhere, at("2026-11-30T12:00")], replace(EMPTY, daily=2)) == names("elsewhere", "2026-11-30T12:00")


def test_kept__a_pause__deletes_nothing() -> None:
    found = [at(time) for time in ("2024-01-01T00:00", "2024-01-02T00:00", "2026-12-01T00:00")]
    assert kept(found, replace(EMPTY, daily=3)) == {one.name for one in found}


def test_kept__nothing_asked_for__the_newest_whole_one_stays() -> None:
    found = [
        at("2026-12-01T00:00"),
        at("2026-12-02T00:00"),
        at("2026-12-03T00:00", only="postgres"),
        at("2026-12-04T00:00", tables=("users",)),
    ]
    assert kept(found, EMPTY) == names("2026-12-02T00:00")
    assert kept(found[2:], EMPTY) == names()


def test_kept__of_one_store__is_counted_by_itself() -> None:
    found = [at("2026-12-01T00:00"), at("2026-12-02T00:00", only="postgres"), at("2026-12-03T00:00", only="postgres", tables=("users",))]
    assert kept(found, replace(EMPTY, daily=1)) == {one.name for one in found}


def test_kept__two_databases__are_counted_by_themselves() -> None:
    other = Database(name="other", oid=1, system_identifier="7543210987654321098")
    found = [at("2026-12-01T00:00"), at("2026-12-02T00:00"), at("2026-11-01T00:00", database=other), at("2026-11-02T00:00", database=other)]
    for keep in (EMPTY, replace(EMPTY, daily=1)):
        assert kept(found, keep) == names("2026-12-02T00:00", "2026-11-02T00:00")


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from(["", "postgres"])), unique_by=lambda pair: pair[0], max_size=40),
    st.builds(Keep, *[st.integers(0, 6)] * 3),
)
def test_kept__any_backups(hours: list[tuple[int, str]], keep: Keep) -> None:
    first = datetime(2024, 1, 1)  # noqa: DTZ001  # at() takes UTC
    found = [at((first + timedelta(hours=hour)).isoformat(), only=only) for hour, only in hours]
    stay = kept(found, keep)
    whole = sorted((one for one in found if one.is_complete), key=lambda one: one.taken_at)
    assert stay <= {one.name for one in found}
    # At most one of a period for each rule, and the newest one.
    assert len([one for one in whole if one.name in stay]) <= keep.daily + keep.weekly + keep.monthly + 1
    assert not whole or whole[-1].name in stay
    # One that is newer never takes the place of more than one: with another backup, at most one of each rule goes.
    later = at((first + timedelta(hours=30_000)).isoformat())
    gone = stay - kept([*found, later], keep)
    assert len(gone) <= 3 + (keep == EMPTY)
    # What goes now does not come back with a smaller number.
    fewer = Keep(*(max(count - 1, 0) for count in (keep.daily, keep.weekly, keep.monthly)))
    assert kept(found, fewer) <= stay
    # The order does not matter, and deleting what goes changes nothing.
    assert kept(found[::-1], keep) == stay
    assert kept([one for one in found if one.name in stay], keep) == stay
