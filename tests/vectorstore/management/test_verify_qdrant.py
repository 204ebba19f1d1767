import json
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from qdrant_client import models

from tests.factories import unit_vector
from tests.support.commands import exit_code, manage
from tests.support.users import create_synced_users
from vectorstore.consistency.checkpoint import CheckpointNotWritten
from vectorstore.consistency.versions import last_allocated
from vectorstore.models import QuarantinedUser, QueueEntry
from vectorstore.qdrant.connection import collection_name, qdrant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_recheck_delay")]


def delete(name: str, *ids: UUID) -> None:
    with qdrant() as client:
        client.delete(name, models.PointIdsList(points=[str(one) for one in ids]), wait=True)


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code and stdout."""
    code = exit_code("verify_qdrant", *arguments)
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, printed.out


def test_verify_qdrant__prints_differences_and_repairs(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    missing, queued, _ = create_synced_users(3)
    assert output(capsys) == (0, f"{live} (live): 3 points of 3 users, no differences.\n")
    delete(live, missing, queued)
    QueueEntry.objects.create(user_id=queued)
    with qdrant() as client:
        client.upsert(live, [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)
    differences = f"{live} (live): 2 points of 3 users, 2 differ, 1 pending.\n  1 missing: {missing}\n  1 orphaned: 7\n"
    assert output(capsys) == (1, f"{differences}To repair this: manage.py verify_qdrant --repair\n")
    assert output(capsys, "--repair") == (
        1,
        f"{differences}1 user queued, 1 point deleted. Run manage.py sync_qdrant --once to write the points.\n",
    )
    assert output(capsys) == (0, f"{live} (live): 1 point of 3 users, no differences, 2 pending.\n")


def test_verify_qdrant__quarantined_user__is_a_finding(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    (user,) = create_synced_users(1)
    QuarantinedUser.objects.create(user_id=user, reason="refused", collection=live)
    quarantined = "1 user is quarantined because Qdrant rejected their data. The admin shows the reasons and can retry them.\n"
    assert output(capsys) == (1, f"{live} (live): 1 point of 1 user, no differences.\n{quarantined}")


def test_verify_qdrant__restored_store__is_reported_and_repaired(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    (user,) = create_synced_users(1)
    version = last_allocated() + 7
    with qdrant() as client:
        client.set_payload(live, {"version": version}, points=[str(user)], wait=True)
    report = (
        f"{live!r} holds a point of version {version}, and PostgreSQL has allocated {last_allocated()} so far: it was restored to an older copy, or"
        f" failed over.\n{live} (live): 1 point of 1 user, no differences, 1 with an unallocated version.\n"
    )
    assert output(capsys) == (1, f"{report}To repair this: manage.py verify_qdrant --repair\n")
    assert output(capsys, "--repair") == (1, f"{report}Both stores have a new checkpoint: workers continue.\n")
    assert output(capsys) == (0, f"{live} (live): 1 point of 1 user, no differences.\n")


@pytest.mark.parametrize("failing", [False, True])
def test_verify_qdrant__checkpoint_is_not_written__is_reported(
    live: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, failing: bool
) -> None:
    def do_not_write(_client: object) -> bool:
        if failing:
            raise CheckpointNotWritten("no")
        return False

    (user,) = create_synced_users(1)
    with qdrant() as client:
        client.set_payload(live, {"version": last_allocated() + 7}, points=[str(user)], wait=True)
    monkeypatch.setattr("vectorstore.verification.repair.reset_checkpoint", do_not_write)
    code, out = output(capsys, "--repair")
    assert code == 1
    assert out.endswith(
        "\nThe new checkpoint is not in both stores: Qdrant rejected it or took too long. Workers stay stopped until it is. Run the command again.\n"
    )


def test_verify_qdrant__json__has_the_whole_result(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    missing, _ = create_synced_users(2)
    delete(live, missing)
    code, text = output(capsys, "--repair", "--json")
    reported: dict[str, Any] = json.loads(text)
    assert code == 1
    assert reported == {
        "alias": collection_name(),
        "users": 2,
        "quarantined": 0,
        "restore_detected": None,
        "collections": [
            {
                "name": live,
                "state": "live",
                "points": 1,
                "differing": 1,
                "kinds": {"missing": 1, "orphaned": 0, "stale payload": 0, "stale vector": 0, "foreign vector": 0},
                "examples": {"missing": [str(missing)]},
                "pending": 0,
                "quarantined": 0,
                "unallocated": 0,
                "unique_vectors": 0,
            }
        ],
        "queued": 1,
        "deleted": 0,
        "checkpoint_written": True,
        "triggers": [],
        "repaired_triggers": [],
        "comparison_due_at": None,
        "possibly_erased": [],
    }


def test_verify_qdrant__over_the_change_limit__needs_force(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    delete(live, *create_synced_users(3))
    with pytest.raises(CommandError) as raised:
        call_command("verify_qdrant", "--repair", "--max-changes", "2")
    assert str(raised.value).startswith("3 points differ and the limit is 2: nothing was changed.")
    assert raised.value.returncode == 2
    assert QueueEntry.objects.count() == 0
    assert output(capsys, "--repair", "--max-changes", "2", "--force")[0] == 1
    assert QueueEntry.objects.count() == 3


def test_verify_qdrant__refused_repair__prints_the_differences_first(live: str, capsys: pytest.CaptureFixture[str]) -> None:
    (user,) = create_synced_users(1)
    delete(live, user)
    with pytest.raises(CommandError, match="1 point differs and the limit is 0"):
        call_command("verify_qdrant", "--repair", "--max-changes", "0")
    assert capsys.readouterr().out == f"{live} (live): 0 points of 1 user, 1 differs.\n  1 missing: {user}\n"
    with pytest.raises(CommandError):
        call_command("verify_qdrant", "--repair", "--max-changes", "0", "--json")
    reported = json.loads(capsys.readouterr().out)
    assert (reported["collections"][0]["examples"], reported["queued"]) == ({"missing": [str(user)]}, None)


@pytest.mark.parametrize("number", ["-1", "many", "1.5", "9" * 19])
def test_verify_qdrant__invalid_max_changes__is_refused(number: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("verify_qdrant", f"--max-changes={number}")
    assert str(raised.value) == f"Error: argument --max-changes: {number!r} is not a whole number, 0 or more"


@pytest.mark.parametrize("option", ["--force", "--max-changes=0"])
def test_verify_qdrant__options_of_repair__need_repair(option: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("verify_qdrant", option)
    assert str(raised.value) == "--max-changes and --force need --repair. Add --repair, or omit them."
    assert raised.value.returncode == 2


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_verify_qdrant__qdrant_unavailable__is_one_line(settings: Any) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = "http://127.0.0.1:9", "", 0
    code, out, err = manage("verify_qdrant")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("Nothing answers at QDRANT_URL 'http://127.0.0.1:9'")
