"""The tables of erasures: states and plans that PostgreSQL enforces, and no room for personal data."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import Error, connection, transaction

from privacy.models import COUNTED, Erasure, ErasureStep
from tests.privacy.erasures.rows import DIGEST, ERASING, PURGING, do_steps, end, erasure_in, insert_erasure, run

pytestmark = pytest.mark.django_db(transaction=True)

STATES = ("sealed", "erased", "purged", "stopped")
ALLOWED = {("sealed", "erased"), ("sealed", "stopped"), ("erased", "purged")}
ADDRESS = "wilhelmina.quux@example.org"


@pytest.mark.parametrize("after", STATES[1:])
@pytest.mark.parametrize("before", STATES)
def test_state__only_the_allowed_transitions(before: str, after: str) -> None:
    erasure_id = erasure_in(before)
    if before != "stopped":
        do_steps_left = [step for step in (*ERASING, *PURGING) if ErasureStep.objects.filter(step=step, done_at__isnull=True).exists()]
        do_steps(erasure_id, *do_steps_left)
    if (before, after) in ALLOWED:
        end(erasure_id, after)
        assert Erasure.objects.get().state == after
    else:
        with pytest.raises(Error):
            end(erasure_id, after)
        assert Erasure.objects.get().state == before


def test_state__a_new_erasure_is_sealed() -> None:
    for columns in ({"state": "erased", "erased_at": "2026-01-01", "ledger_position": 1}, {"ledger_position": 1}):
        with pytest.raises(Error, match="a new erasure is sealed"):
            insert_erasure(**columns)


def test_state__not_before_its_steps() -> None:
    erasure_id = insert_erasure()
    do_steps(erasure_id, "rows")
    with pytest.raises(Error, match="it cannot become erased before these steps: point"):
        end(erasure_id, "erased")
    do_steps(erasure_id, "point")
    end(erasure_id, "erased")
    do_steps(erasure_id, "backups")
    with pytest.raises(Error, match="it cannot become purged before these steps: scan"):
        end(erasure_id, "purged")


def test_state__not_without_an_entry_in_the_ledger() -> None:
    erasure_id = insert_erasure(steps=())
    with pytest.raises(Error, match="the ledger has no entry"):
        run("UPDATE erasures SET state = 'erased', erased_at = now() WHERE id = %s", erasure_id)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("plan", '{"deleted.users": 1}'), ("plan_digest", bytes(range(190, 222))), ("user_id", uuid4()), ("policy_version", 2)),
        *(("hid_user", True), ("sealed_at", "2026-01-01"), ("erased_at", "2026-01-01"), ("stop_reason", "failed")),
    ],
)
def test_plan__never_changes(column: str, value: Any) -> None:
    erasure_id = insert_erasure()
    with pytest.raises(Error):
        run(f"UPDATE erasures SET {column} = %s WHERE id = %s", value, erasure_id)


def test_user__one_sealed_erasure() -> None:
    user_id = uuid4()
    end(insert_erasure(user_id=user_id), "stopped")
    insert_erasure(user_id=user_id)
    with pytest.raises(Error, match="erasures_sealed_key"):
        insert_erasure(user_id=user_id)


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"deleted.users": 1, "kept.audit_log": 0, "cleared.vector_imports": 2},
        {"store.vector_store": 1, "store.other": 1, "files_deleted": 3, "files_kept": 1, "backup_days": 30},
        {"hold.matches.17_3_e": 4},
        {f"store.{name}": 1 for name in COUNTED},
    ],
)
def test_plan__names_and_numbers(plan: dict[str, int]) -> None:
    insert_erasure(plan=plan)


@pytest.mark.parametrize(
    "plan",
    [
        *({ADDRESS: 1}, {f"deleted.{ADDRESS}": 1}, {"deleted.users": ADDRESS}, {"deleted.users": {"of": ADDRESS}}, ADDRESS, [ADDRESS]),
        *({"deleted.wilhelmina_quux": 1}, {"kept.wilhelmina": 1}, {"store.wilhelmina": 1}, {"hold.wilhelmina.17_3_e": 1}),
        *({"hold.matches.wilhelmina": 1}, {"deleted.users.wilhelmina": 1}, {"deleted.users": -1}, {"deleted.users": 1.5}, None),
    ],
)
def test_plan__has_no_room_for_personal_data(plan: Any) -> None:
    with pytest.raises(Error):
        insert_erasure(plan=plan)


@pytest.mark.parametrize(
    "columns",
    [{"plan_digest": ADDRESS.encode().ljust(32)}, {"plan_digest": b""}, {"stop_reason": ADDRESS[:20]}, {"policy_version": 0}],
)
def test_other_columns__have_no_room_for_personal_data(columns: dict[str, Any]) -> None:
    with pytest.raises(Error):
        insert_erasure(**columns)


@pytest.mark.parametrize(("column", "value"), [("step", ADDRESS[:10]), ("step", "wilhelmina"), ("waits_for", "wilhelmina"), ("count", -1)])
def test_step__has_no_room_for_personal_data(column: str, value: Any) -> None:
    row = {"erasure_id": insert_erasure(steps=()), "step": "rows"} | {column: value}
    with pytest.raises(Error):
        run(f"INSERT INTO erasure_steps ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())


def test_step__is_final_when_done() -> None:
    erasure_id = insert_erasure()
    run("UPDATE erasure_steps SET checked_at = now(), waits_for = 'store' WHERE step = 'rows'")
    with pytest.raises(Error, match="erasure_steps_waits_for_check"):
        do_steps(erasure_id, "rows")
    run("UPDATE erasure_steps SET done_at = now(), waits_for = '', count = 3 WHERE step = 'rows'")
    for statement in (
        "UPDATE erasure_steps SET count = 4 WHERE step = 'rows'",
        "UPDATE erasure_steps SET done_at = NULL WHERE step = 'rows'",
        "UPDATE erasure_steps SET step = 'files' WHERE step = 'point'",
        "DELETE FROM erasure_steps WHERE step = 'point'",
        "TRUNCATE erasure_steps",
        "TRUNCATE erasures CASCADE",
    ):
        with pytest.raises(Error):
            run(statement)


def test_deletion__only_three_years_after_the_end() -> None:
    for state in STATES:
        erasure_in(state)
        with pytest.raises(Error, match="is open, or ended in the last three years"):
            run("DELETE FROM erasures WHERE state = %s", state)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE erasures DISABLE TRIGGER erasures_step_check")
        cursor.execute("UPDATE erasures SET erased_at = now() - interval '1096 days' WHERE state = 'purged'")
        cursor.execute("ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_step_check")
    run("DELETE FROM erasures WHERE state = 'purged'")
    assert not ErasureStep.objects.filter(erasure__state="purged").exists()
    assert ErasureStep.objects.count() == 3 * len((*ERASING, *PURGING))


def test_triggers__fire_with_session_replication_role_replica() -> None:
    erasure_id = insert_erasure()
    with pytest.raises(Error, match="it cannot become erased"):
        run(
            "SET LOCAL session_replication_role = replica;"
            "UPDATE erasures SET state = 'erased', erased_at = now(), ledger_position = 1 WHERE id = %s",
            erasure_id,
        )


def test_digest__is_32_bytes() -> None:
    assert len(DIGEST) == 32
    insert_erasure(plan_digest=DIGEST)
