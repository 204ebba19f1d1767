"""Whatever the backup, the live database and the ledger have: the rows that come back, and the numbers, are those of a second reading of the rules."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backups.restoring import tables as module
from backups.restoring.tables import TableResult, bring_back
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.publication import record_entries
from privacy.ledger.states import undoing
from tests.at_length import examples
from tests.backups.restoring.two_databases import TABLES, VECTOR, Contents, Expected, change, contents, empty, insert
from tests.support.database import Database

pytestmark = pytest.mark.django_db(transaction=True)

EMAILS = ["a@x.example", "A@X.example", *(f"{letter}@x.example" for letter in "bcdefg")]
HOW = ["erase", "anonymize", "restrict", "object", "erase undone", "noted", "erased_users"]


def state(chance: random.Random, share: float) -> list[tuple[str, dict[str, Any]]]:
    """Return rows to insert, by numbers instead of ids. The database refuses some of them."""
    rows: list[tuple[str, dict[str, Any]]] = []

    def some() -> list[int]:
        return [number for number in range(4) if chance.random() < share]

    for user in some():
        rows.append(("users", {"id": user, "email": chance.choice(EMAILS), "is_staff": chance.random() < 0.1}))
        if chance.random() < 0.5:
            rows.append(("profile_embeddings", {"user_id": user}))
    for video in some():
        owner = chance.randrange(4)
        rows.append(("videos", {"id": video, "user_id": owner}))
        if chance.random() < 0.8:
            rows.append(("video of", {"user": owner, "video": video}))
    for match in some():
        pair = chance.sample(range(4), 2)
        deleted_at = "2026-01-01T00:00:00Z" if chance.random() < 0.2 else None
        rows.append(("matches", {"id": match, "user_id": pair[0], "matched_user_id": pair[1], "deleted_at": deleted_at}))
        call = {"caller_id": pair[1], "callee_id": pair[0], "session_id": f"s{chance.randrange(6)}"}
        rows.append(("video_calls", {"id": match if chance.random() < 0.7 else chance.randrange(4), "match_id": match, **call}))
    return rows


def fill(session: psycopg.Connection[Any], rows: list[tuple[str, dict[str, Any]]], ids: list[UUID]) -> Contents:
    for table, values in rows:
        if table == "video of":
            change(session, "UPDATE users SET video_id = %s WHERE id = %s", ids[values["video"]], ids[values["user"]])
        else:
            insert(
                session,
                table,
                **{name: ids[value] if name.endswith("id") and name != "session_id" else value for name, value in values.items()},
            )
    return contents(session)


def numbers(results: list[TableResult]) -> dict[str, dict[str, int]]:
    reasons = ("in_ledger", "staff", "without_reference", "taken")
    found: dict[str, dict[str, int]] = {}
    for one in results:
        fields = one.as_json()
        assert fields["in_backup"] == fields["present"] + fields["brought_back"] + sum(fields["left_out"].values())
        assert set(fields["left_out"]) <= set(reasons)
        found[one.table] = {name: fields[name] for name in ("present", "brought_back", "cleared")}
        found[one.table] |= {reason: fields["left_out"].get(reason, 0) for reason in reasons}
    return found


def note_in_ledger(session: psycopg.Connection[Any], user_id: UUID, how: str) -> bool:
    """Return whether the user must stay away."""
    if how == "noted":
        session.execute("INSERT INTO pending_actions (user_id, kind) VALUES (%s, %s)", [user_id, Kind.ERASE])
    elif how == "erased_users":
        session.execute("INSERT INTO erased_users (user_id, deleted) VALUES (%s, true) ON CONFLICT DO NOTHING", [user_id])
    else:
        kind = next(one for one in Kind if one.name == how.removesuffix(" undone").upper())
        record_entries([NewEntry(kind, user_id), *([NewEntry(undoing(kind), user_id)] if how.endswith("undone") else [])])
    return not how.endswith("undone")


@hypothesis_settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), batch_size=st.sampled_from([1, 2, 1000]))
def test_bring_back__any_states(
    restored: tuple[Database, BaseDatabaseWrapper], monkeypatch: pytest.MonkeyPatch, seed: int, batch_size: int
) -> None:
    chance = random.Random(seed)
    backup, live = state(chance, 0.9), state(chance, chance.choice([0.1, 0.5, 0.8]))
    in_ledger = {number: chance.choice(HOW) for number in range(4) if chance.random() < 0.2}
    chosen = set(TABLES) if chance.random() < 0.5 else set(chance.sample(TABLES, chance.randint(1, 4)))
    made, scratch = restored
    monkeypatch.setattr(module, "BATCH_SIZE", batch_size)
    ids = [uuid4() for _ in range(4)]
    with made.connect() as theirs, Database(str(connection.settings_dict["NAME"])).connect() as ours:
        empty(theirs)
        empty(ours)
        in_backup, before = fill(theirs, backup, ids), fill(ours, live, ids)
        away = {ids[number] for number, how in in_ledger.items() if note_in_ledger(ours, ids[number], how)}
        ours.execute("DELETE FROM vector_sync_queue")
        expected = Expected(in_backup, before, away, sorted(chosen))

        planned = numbers(bring_back(scratch, connection, sorted(chosen), dry_run=True))
        assert contents(ours) == before
        assert planned == expected.numbers

        done = numbers(bring_back(scratch, connection, sorted(chosen)))
        assert done == expected.numbers
        after = contents(ours)
        for table in TABLES:
            assert after[table].keys() == expected.after[table].keys()
            for key, row in after[table].items():
                wanted = expected.after[table][key]
                # A row that was there is not even written.
                assert {name: row[name] for name in wanted} == wanted
        queued = {user_id for (user_id,) in ours.execute("SELECT user_id FROM vector_sync_queue").fetchall()}
        embedded = after["profile_embeddings"].keys()
        new = (embedded - before["profile_embeddings"].keys()) | (embedded & (after["users"].keys() - before["users"].keys()))
        assert queued == new
        assert all(row["vector"] == [1.0, *[0.0] * 511] for row in after["profile_embeddings"].values()), VECTOR

        again = numbers(bring_back(scratch, connection, sorted(chosen)))
        assert {name: counts["brought_back"] for name, counts in again.items()} == dict.fromkeys(again, 0)
        assert contents(ours) == after
