"""Entries, their canonical JSON, and the chain."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from privacy.ledger.entry import FIRST_PREVIOUS, Entry, Kind, LedgerBroken, chained, parse_entry
from privacy.models import COUNTED

digests = st.binary(min_size=32, max_size=32)
entries = st.builds(
    Entry,
    position=st.integers(1, 2**53 - 1),
    recorded_at=st.datetimes(datetime(2000, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # hypothesis adds the zone
    kind=st.sampled_from(Kind),
    subject=digests,
    key_id=st.integers(1, 32767),
    plan_digest=st.none() | digests,
    policy_version=st.integers(1, 2**31 - 1),
    counts=st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 10**15 - 1)),
    previous=digests,
)


@given(entries)
def test_entry__canonical_json_can_be_parsed_again(entry: Entry) -> None:
    assert parse_entry(entry.canonical()) == entry


@given(entries)
def test_entry__canonical_json_is_that_of_rfc_8785(entry: Entry) -> None:
    assert entry.canonical() == rfc8785.dumps(entry.fields())


@pytest.mark.parametrize("large", [{"position": 2**53}, {"counts": {"videos": 2**53}}])
def test_entry__number_that_json_does_not_have__is_refused(large: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="too large"):
        replace(example(), **large).canonical()


@given(entries, st.data())
def test_entry__every_change_changes_the_digest(entry: Entry, data: st.DataObject) -> None:
    line = bytearray(entry.canonical())
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = parse_entry(bytes(line))
    except ValueError:
        return
    assert changed.digest != entry.digest


def example() -> Entry:
    moment = datetime(2026, 11, 30, 18, 5, 0, 42, UTC)
    return Entry(1, moment, Kind.ERASE, b"\xaa" * 32, 1, None, 1, {"videos": 2, "calls": 0}, FIRST_PREVIOUS)


def test_entry__canonical_json_has_sorted_names_and_no_spaces() -> None:
    assert example().canonical().decode() == (
        '{"counts":{"calls":0,"videos":2},"key":1,"kind":1,"plan":null,"policy":1,"position":1,'
        f'"previous":"{"00" * 32}","recorded_at":"2026-11-30T18:05:00.000042Z","subject":"{"aa" * 32}"}}'
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":1', b'"kind":12'),
        (b'"kind":1', b'"kind": 1'),
        (b'"key":1', b'"key":"1"'),
        (b'"plan":null', b'"plan":7'),
        (b'"counts":{"calls":0,"videos":2}', b'"counts":[]'),
        (b'"policy":1', b'"policy":1,"note":"Jane"'),
        (b"000042Z", b"42Z"),
        (b"000042Z", b"000042"),
        (b"000042Z", b"000042+00:00"),
        (b"{", b"["),
    ],
)
def test_parse_entry__another_line__is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_entry(example().canonical().replace(old, new, 1))


def chain(length: int) -> list[Entry]:
    found = [example()]
    for position in range(2, length + 1):
        found.append(replace(example(), position=position, previous=found[-1].digest))
    return found


@given(st.integers(1, 6), st.data())
def test_chained__finds_each_removed_swapped_and_edited_entry(length: int, data: st.DataObject) -> None:
    found = chain(length)
    assert list(chained(found)) == found
    index = data.draw(st.integers(0, length - 1))
    edited = [*found[:index], replace(found[index], key_id=2), *found[index + 1 :]]
    if index < length - 1:
        with pytest.raises(LedgerBroken, match=f"Entry {index + 2} of the ledger does not follow entry {index + 1}"):
            list(chained(edited))
        with pytest.raises(LedgerBroken, match=f"Entry {index + 2} of the ledger does not follow entry {index}"):
            list(chained([*found[:index], *found[index + 1 :]]))


def test_chained__after_an_entry() -> None:
    found = chain(3)
    assert list(chained(found[1:], 1, found[0].digest)) == found[1:]
    with pytest.raises(LedgerBroken):
        list(chained(found[1:], 1, found[1].digest))
