"""``privacy_request``: the whole way of a request by commands, its output without personal data, exit codes, and two processes at once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from privacy.actions.restriction import stop_matching
from privacy.audit import operating_system_account
from privacy.local_dates import today
from privacy.models import AuditEntry, DataSubjectRequest
from privacy.models.request_choices import State
from privacy.requests import steps
from privacy.requests.deadlines import due_date
from tests.factories import UserFactory
from tests.privacy.requests.rows import request_in
from tests.support.commands import environment, manage, manage_here, started
from tests.support.processes import ended, start_python
from tests.support.waiting import wait_until
from vectorstore.schema.initialize import initialize

SECRET = "ann@example.com"


def ask(action: str, *arguments: object, code: int = 0) -> dict[str, Any]:
    """Run the command with ``--json``, and return the document."""
    found, out, err = manage_here("privacy_request", action, *arguments, "--json")
    assert (found, err) == (code, "")
    return dict(json.loads(out))


def refused(action: str, *arguments: object) -> str:
    code, out, err = manage_here("privacy_request", action, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.mark.django_db
def test_way__from_the_record_to_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    person = UserFactory.create(email=SECRET)
    received_on = today() - timedelta(days=3)
    first = ask("record", "--kind", "access", "--user", SECRET.upper(), "--received-on", received_on)
    key = first["id"]
    assert (first["user_id"], first["state"], first["has_contact"]) == (str(person.pk), "received", False)
    assert first["due_on"] == due_date(received_on).isoformat()
    assert first["next"] == f"manage.py privacy_request confirm-identity {key} --method METHOD"
    assert ask("ask-identity", key)["is_paused"] is True
    assert ask("confirm-identity", key, "--method", "letter_code")["paused_days"] == 0
    assert ask("extend", key, "--reason", "complexity")["due_on"] == due_date(received_on, is_extended=True).isoformat()
    assert "Ask another member of staff to approve it." in refused("approve", key)
    for module in ("privacy.audit", "privacy.requests.conditions"):
        monkeypatch.setattr(f"{module}.operating_system_account", lambda: "bob")
    approved = ask("approve", key)
    assert (approved["approved_by"], approved["task"].partition(" --output")[0]) == ("bob", f"Run manage.py export_user {person.pk}")
    assert f"or run it with --link --request {key} and send the link. It has the information of article 15 (1)." in approved["task"]
    answered = ask("answer", key)
    assert (answered["state"], answered["closed_on"], answered["next"]) == ("answered", today().isoformat(), None)
    assert [*AuditEntry.objects.order_by("pk").values_list("action", "outcome")] == [
        ("request_record", "done"),
        ("request_ask", "done"),
        ("request_identify", "done"),
        ("request_extend", "done"),
        ("request_approve", "failed"),
        ("request_approve", "done"),
        ("request_answer", "done"),
    ]


@pytest.mark.django_db
def test_way__of_an_objection(monkeypatch: pytest.MonkeyPatch, embedded_qdrant: Path) -> None:
    initialize()
    person = UserFactory.create()
    key = ask("record", "--kind", "objection", "--processing", "matching", "--user", person.pk)["id"]
    ask("confirm-identity", key, "--method", "login")
    for module in ("privacy.audit", "privacy.requests.conditions"):
        monkeypatch.setattr(f"{module}.operating_system_account", lambda: "bob")
    assert ask("approve", key)["task"].startswith(f"Run manage.py stop_matching {person.pk}: no search and no match has")
    assert f"then run manage.py privacy_request stop {key}" in refused("answer", key)
    assert f"Run manage.py stop_matching {person.pk}" in refused("stop", key)
    stop_matching(person.pk)
    assert ask("stop", key)["next"] == f"manage.py privacy_request answer {key}"
    assert ask("answer", key)["state"] == "answered"


@pytest.mark.django_db
def test_refuse_and_withdraw() -> None:
    key = ask("record", "--kind", "erasure", "--contact", SECRET)["id"]
    assert "--informed-of-remedies" in refused("refuse", key, "--ground", "12_5_excessive")
    assert ask("refuse", key, "--ground", "12_5_excessive", "--informed-of-remedies")["refusal_ground"] == "12_5_excessive"
    assert f"Run manage.py privacy_request show {key}" in refused("withdraw", key, "--reason", "by_person")
    second = ask("record", "--kind", "erasure", "--contact", SECRET)["id"]
    assert ask("withdraw", second, "--reason", "duplicate")["withdrawal_reason"] == "duplicate"


@pytest.mark.django_db
def test_recipients(settings: Any) -> None:
    settings.REQUEST_RECIPIENTS = ["film-storage"]
    key = request_in(State.IDENTIFIED, kind="rectification")
    steps.approve(key, actor_id=uuid4())
    assert "is not a recipient of REQUEST_RECIPIENTS" in refused("tell-recipient", key, "bank")
    assert ask("show", key)["recipients"] == [{"recipient": "film-storage", "informed_on": None, "not_informed_reason": None}]
    told = ask("tell-recipient", key, "film-storage", "--not-informed", "disproportionate")
    assert told["recipients"][0]["not_informed_reason"] == "disproportionate"
    assert "  recipient film-storage: disproportionate\n" in manage_here("privacy_request", "show", key)[1]


@pytest.mark.django_db
def test_output__has_the_contact_address_only_if_it_is_asked_for() -> None:
    code, out, err = manage_here("privacy_request", "record", "--kind", "access", "--contact", SECRET)
    assert (code, err) == (0, "") and SECRET not in out
    key = UUID(out.split()[0])
    for arguments in (["list"], ["list", "--json"], ["show", key], ["show", key, "--json"], ["set-contact", key, SECRET]):
        code, out, err = manage_here("privacy_request", *arguments)
        assert code == 0 and SECRET not in out + err
    assert manage_here("privacy_request", "show", key, "--contact")[1].splitlines()[-1] == f"  contact: {SECRET}"
    assert ask("show", key, "--contact")["contact"] == SECRET


@pytest.mark.django_db(transaction=True)
def test_contact__from_standard_input() -> None:
    process = started("privacy_request", "record", "--kind", "access", "--contact", "-", stdin=PIPE)
    code, _out, err = ended(process, f"{SECRET}\n")
    assert (code, err) == (0, "")
    assert DataSubjectRequest.objects.get().contact == SECRET


@pytest.mark.django_db
def test_list__filters() -> None:
    day = today()
    late = request_in(State.APPROVED, received_on=day - timedelta(days=60))
    early = request_in(State.RECEIVED, received_on=day - timedelta(days=3))
    paused = request_in(State.IDENTITY_ASKED, kind="erasure", contact="a@example.com", received_on=day - timedelta(days=70))
    closed = request_in(State.WITHDRAWN, received_on=day - timedelta(days=90))

    def keys(*options: object) -> list[UUID]:
        return [UUID(one["id"]) for one in ask("list", *options)["requests"]]

    assert keys() == [paused, late, early]
    assert keys("--all") == [paused, late, early, closed]
    assert keys("--late") == [late]
    assert keys("--state", "withdrawn") == [closed]
    assert keys("--kind", "erasure") == [paused]
    assert keys("--limit", 1) == [paused]
    lines = manage_here("privacy_request", "list", "--limit", 2)[1].splitlines()
    user_id = DataSubjectRequest.objects.get(pk=late).user_id
    assert lines[1] == f"{late}  access  approved  due on {due_date(day - timedelta(days=60), closed=())}  LATE  user {user_id}"
    assert lines[2] == "3 requests, the first 2 are shown."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["record", "--kind", "portrait"], "argument --kind: invalid choice: 'portrait'"),
        (["record"], "the following arguments are required: --kind"),
        (["show", "x"], "'x' is not the UUID of a request"),
        (["answer", UUID(int=1), "--on", "yesterday"], "'yesterday' is not a day such as 2026-12-31"),
        (["answer", UUID(int=1)], f"There is no request '{UUID(int=1)}'"),
        (["record", "--kind", "access", "--user", "x"], "'x' is neither a UUID nor an e-mail address"),
        (["confirm-identity", UUID(int=1), "--method", "copy"], "argument --method: invalid choice: 'copy'"),
        (["tell-recipient", UUID(int=1), "x", "--on", "2026-01-01", "--not-informed", "impossible"], "not allowed with argument"),
        (["answer", UUID(int=1), "--on", "2999-01-01"], "2999-01-01 is in the future"),
    ],
)
@pytest.mark.django_db
def test_bad_input__is_one_line(arguments: list[object], reason: str) -> None:
    assert reason in refused(*map(str, arguments))


WHEN_ASKED = """
import sys
import django
django.setup()
from findme.cli import main
print("ready", flush=True)
sys.stdin.readline()
sys.exit(main(["manage.py", "privacy_request", *sys.argv[1:]]))
"""
"""Run the command after a line on standard input, because the start of a process takes longer than a request can wait for a lock."""


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_two_processes__one_approves_and_the_other_gets_one_line() -> None:
    """Both wait for the same row. One changes it, and the other finds the new state."""
    key = request_in(State.IDENTIFIED, recorded_by_account="", recorded_by_id=uuid4())
    processes = [start_python(environment(), "-c", WHEN_ASKED, "approve", key, "--json", stdin=PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        with transaction.atomic():
            DataSubjectRequest.objects.select_for_update().get(pk=key)
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            wait_until(lambda: _waiting() == 2, "Both processes wait for the row", poll_seconds=0.05)
        results = sorted(ended(process) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [code for code, _, _ in results] == [0, 2]
    assert json.loads(results[0][1])["state"] == "approved"
    assert results[1][1:] == (
        "",
        f"Request {key} is already 'approved': nothing was changed. Run manage.py privacy_request answer {key}\n",
    )
    account = operating_system_account()
    assert sorted(AuditEntry.objects.values_list("action", "actor_account", "outcome")) == [
        ("request_approve", account, "done"),
        ("request_approve", account, "failed"),
    ]


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the activity as it was at its first look
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return int(cursor.fetchone()[0])


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_locked_request__is_one_line() -> None:
    key = request_in(State.RECEIVED)
    with transaction.atomic():
        DataSubjectRequest.objects.select_for_update().get(pk=key)
        code, out, err = manage("privacy_request", "ask-identity", key)
    assert (code, out) == (2, "")
    assert err == f"Another transaction changes the request {key}: nothing was changed after 5 seconds. Run it again.\n"
