"""The table of the ledger: numbers and chains by triggers, append-only, and no room for personal data."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import Error, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.ledger.book import NewEntry, insert, read_entries
from privacy.ledger.entry import FIRST_PREVIOUS, Kind, chained
from privacy.ledger.keys import subject_keys
from privacy.models import COUNTED, LedgerEntry
from tests.emptying import without_append_only
from tests.support.threads import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = b"wilhelmina.quux@example.org"
DIGEST = bytes(range(200, 232))


def add(**values: Any) -> None:
    row: dict[str, Any] = {"kind": 1, "subject": DIGEST, "key_id": 1, "policy_version": 1} | values
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO erasure_ledger ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )


@pytest.mark.usefixtures("ledger")
def test_insert__numbers_and_chains_the_entries() -> None:
    users = [uuid4() for _ in range(3)]
    keys = subject_keys()
    with transaction.atomic():
        inserted = insert([NewEntry(Kind.ERASE, user, {"videos": 2}) for user in users], keys)
    first, second, third = read_entries()
    assert inserted == [first, second, third]
    assert [first.position, second.position, third.position] == [1, 2, 3]
    assert first.previous == FIRST_PREVIOUS
    assert second.previous == first.digest
    assert [entry.subject for entry in (first, second, third)] == [keys.subject(user) for user in users]
    assert list(chained(read_entries())) == [first, second, third]


@pytest.mark.usefixtures("ledger")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(Kind),
    st.none() | st.just(DIGEST),
    st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 10**15 - 1)),
)
def test_trigger__computes_the_digest_of_the_canonical_json(kind: Kind, plan: bytes | None, counts: dict[str, int]) -> None:
    """Reading an entry raises an error if the digest is another one."""
    with transaction.atomic():
        (known,) = insert([NewEntry(kind, UUID(int=7), counts, plan)], subject_keys())
        add(kind=kind, plan_digest=plan, counts=json.dumps(counts))
    entry, by_trigger = read_entries(after=known.position - 1)
    assert (
        (entry.kind, entry.plan_digest, entry.counts)
        == (kind, plan, counts)
        == (by_trigger.kind, by_trigger.plan_digest, by_trigger.counts)
    )


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("subject", ADDRESS.ljust(32)),
        ("subject", ADDRESS.ljust(32, b"\0")),
        ("subject", ADDRESS),
        ("plan_digest", ADDRESS.ljust(32)),
        ("previous", ADDRESS.ljust(32)),
        ("digest", ADDRESS.ljust(32)),
        ("counts", json.dumps({ADDRESS.decode(): 1})),
        ("counts", json.dumps({"videos": ADDRESS.decode()})),
        ("counts", json.dumps({"videos": {ADDRESS.decode(): 1}})),
        ("counts", json.dumps([ADDRESS.decode()])),
        ("counts", json.dumps(ADDRESS.decode())),
        ("counts", '{"videos": 1.5}'),
        ("counts", '{"videos": -1}'),
        ("counts", '{"videos": 1e999}'),
        ("counts", '{"videos": null}'),
        ("kind", 12),
        ("kind", 0),
        ("key_id", 0),
        ("policy_version", 0),
        ("position", 0),
        ("position", 7),
        ("recorded_at", "infinity"),
    ],
)
def test_table__takes_no_address_in_any_column(column: str, value: Any) -> None:
    if column in {"position", "previous", "digest", "recorded_at"}:
        whole = {"position": 1, "recorded_at": "2026-01-01T00:00:00Z", "previous": FIRST_PREVIOUS}
    else:
        whole = {}
    with pytest.raises(Error):
        add(**whole | {column: value})
    assert not LedgerEntry.objects.exists()


def test_table__the_test_above_covers_every_column() -> None:
    (parameters,) = (mark for mark in test_table__takes_no_address_in_any_column.pytestmark if mark.name == "parametrize")
    assert {column for column, _ in parameters.args[1]} == {field.column for field in LedgerEntry._meta.concrete_fields}


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE erasure_ledger SET kind = 2",
        "DELETE FROM erasure_ledger",
        "TRUNCATE erasure_ledger",
        "UPDATE erasure_ledger SET kind = 2 WHERE false",
    ],
)
def test_table__is_append_only(statement: str, role: str) -> None:
    add()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {role}")
        with pytest.raises(Error, match="The erasure ledger is append-only"):
            cursor.execute(statement)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"kind": 2},
        lambda row: row | {"position": 3},
        lambda row: row | {"previous": DIGEST},
        lambda row: row | {"recorded_at": "2026-01-01T00:00:00Z"},
    ],
    ids=["kind", "position", "previous", "recorded_at"],
)
def test_table__a_copied_entry_must_be_the_next_of_the_chain(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    add()
    add()
    row: dict[str, Any] = dict(LedgerEntry.objects.filter(pk=2).values().get())
    with without_append_only() as cursor:
        cursor.execute("DELETE FROM erasure_ledger WHERE position = 2")
    row["counts"] = json.dumps(row["counts"])
    with pytest.raises(Error, match="does not follow the entry 1"):
        add(**change(row))
    add(**row)
    assert [entry.position for entry in chained(read_entries())] == [1, 2]


@pytest.mark.usefixtures("ledger")
def test_table__several_entries_of_one_statement_are_chained() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO erasure_ledger (kind, subject, key_id, policy_version) SELECT 1, %s, 1, 1 FROM generate_series(1, 3)", [DIGEST]
        )
    assert [entry.position for entry in chained(read_entries())] == [1, 2, 3]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    ("column", "value"),
    [("position", "position + 1"), ("previous", "sha256('')"), ("digest", "sha256('')"), ("kind", "2"), ("subject", "sha256('')")],
)
def test_table__a_wrong_entry_among_several_copied_ones_is_refused(column: str, value: str, role: str) -> None:
    """The last one is wrong. A changed position leaves a gap."""
    for _ in range(4):
        add()
    with without_append_only() as cursor:
        cursor.execute("CREATE TABLE wrong_entries AS SELECT * FROM erasure_ledger WHERE position > 1")
        cursor.execute(f"UPDATE wrong_entries SET {column} = {value} WHERE position = 4")
        cursor.execute("DELETE FROM erasure_ledger WHERE position > 1")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL session_replication_role = {role}")
            with pytest.raises(Error, match="does not follow the entry 3"):
                cursor.execute("INSERT INTO erasure_ledger SELECT * FROM wrong_entries ORDER BY position DESC")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE wrong_entries")


@pytest.mark.usefixtures("ledger")
def test_insert__of_many_entries__runs_no_trigger_for_each() -> None:
    """A trigger for each row took longer than the insertion itself. The number of queries does not depend on the number of entries."""
    queries: list[int] = []
    for count in (1, 49):
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            insert([NewEntry(Kind.ERASE, uuid4()) for _ in range(count)], subject_keys())
        queries.append(len(captured))
    assert queries[0] == queries[1]
    columns = "position + 50, recorded_at, kind, subject, key_id, plan_digest, policy_version, counts, previous, digest"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE erasure_ledger DISABLE TRIGGER erasure_ledger_checked")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) INSERT INTO erasure_ledger SELECT {columns} FROM erasure_ledger")
        ((found,),) = cursor.fetchall()
        transaction.set_rollback(True)
    plan = json.loads(found) if isinstance(found, str) else found
    assert {one["Trigger Name"]: one["Calls"] for one in plan[0]["Triggers"]} == {"erasure_ledger_locked": 1}


@pytest.mark.usefixtures("ledger")
def test_insert__by_two_transactions_at_once__waits() -> None:
    with transaction.atomic():
        add()
        waiting = in_thread(add)
        add()
    waiting.result()
    assert [entry.position for entry in chained(read_entries())] == [1, 2, 3]
