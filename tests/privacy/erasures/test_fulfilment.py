"""The whole way of an erasure request: the approval seals and hides, a worker erases, and the answer waits for that."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.erase import erase
from privacy.actions.erasures import PlanRefused
from privacy.actions.holds import hold
from privacy.actions.pending import process_pending
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind as Entry
from privacy.models import AuditEntry, DataSubjectRequest, Erasure
from privacy.models.holds import Article, Section
from privacy.models.request_choices import Ground, Kind, Method, WithdrawalReason
from privacy.requests import jobs, steps
from privacy.requests.erasure_summary import summarize_erasure
from privacy.requests.fulfilment import _lock_key, erase_approved, erase_request
from privacy.requests.jobs import process
from tests.factories import UserFactory, VideoFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.sessions import another_connection

pytestmark = pytest.mark.django_db(transaction=True)

RECORDER, APPROVER = UUID(int=1), UUID(int=2)


def approved(person: User) -> DataSubjectRequest:
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=RECORDER)
    steps.confirm_identity(request.pk, Method.LOGIN, actor_id=RECORDER)
    return steps.approve(request.pk, actor_id=APPROVER)


def test_approval__seals_the_plan_and_hides_the_user(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    request = approved(person)
    erasure = Erasure.objects.get()
    assert (erasure.request, erasure.state, erasure.hid_user, erasure.plan["deleted.videos"]) == (request, "sealed", True, 2)
    assert User.objects.get(pk=person.pk).deleted_at is not None
    assert shelf.ids == set()
    assert AuditEntry.objects.filter(action="soft_delete", target_id=person.pk, outcome="done", actor_id=APPROVER).count() == 1
    process_pending()
    assert [entry.kind for entry in entries_of(person.pk)] == [Entry.SOFT_DELETE]


def test_approval__of_a_staff_member__needs_a_superuser(shelf: Shelf) -> None:
    user = UserFactory.create(staff=True)
    officer, superuser = UserFactory.create(staff=True), UserFactory.create(superuser=True)
    request = steps.record(Kind.ERASURE, user_id=user.pk, actor_id=RECORDER)
    steps.confirm_identity(request.pk, Method.LOGIN, actor_id=RECORDER)
    with pytest.raises(UserFacingError, match=r"is a staff member: nothing was changed\. Ask a superuser\.$"):
        steps.approve(request.pk, actor_id=officer.pk)
    assert not Erasure.objects.exists() and User.objects.get(pk=user.pk).deleted_at is None
    assert steps.approve(request.pk, actor_id=superuser.pk).state == "approved"


def test_worker__carries_it_out_and_only_then_it_can_be_answered(shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    with pytest.raises(
        UserFacingError, match=rf"is not erased yet: nothing was changed\. Run manage\.py privacy_request erase {request.pk}"
    ):
        steps.answer(request.pk)
    VideoFactory.create(user=User.objects.get(pk=person.pk))  # counts may grow
    processed = process()
    assert (processed.erasures_done, processed.erasures_waiting) == (1, {})
    erasure = Erasure.objects.get()
    (entry,) = [entry for entry in entries_of(person.pk) if entry.kind is Entry.ERASE]
    assert (erasure.state, erasure.ledger_position, entry.plan_digest) == ("erased", entry.position, bytes(erasure.plan_digest))
    assert not User.objects.filter(pk=person.pk).exists()
    assert process().erasures_done == 0
    assert steps.answer(request.pk).state == "answered"


def test_worker__store_unavailable__waits_and_is_retried(shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    shelf.reachable = False
    assert list(process().erasures_waiting) == [request.pk]
    assert set(Erasure.objects.get().steps.filter(step="point").values_list("waits_for", flat=True)) == {"store"}
    shelf.reachable = True
    assert erase_approved({}, retry_after=timedelta(minutes=1)) == 0
    assert process().erasures_done == 1


def test_worker__ledger_unavailable__says_so_and_does_what_needs_no_ledger(
    shelf: Shelf, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger lacks the deletion of another user by plain SQL: it fails before the erasure is tried."""
    request = approved(full_life())
    UserFactory.create().delete()
    scan = Mock(return_value=0)
    monkeypatch.setattr(jobs, "purge_erased", scan)
    settings.ERASURE_LEDGER_URL, before = str(tmp_path / "not mounted"), settings.ERASURE_LEDGER_URL
    with pytest.raises(StoreUnavailable, match="not mounted"):
        process()
    assert set(Erasure.objects.get(request=request).steps.filter(step__in=["rows", "point"]).values_list("waits_for", flat=True)) == {
        "ledger"
    }
    assert scan.called
    summary = summarize_erasure(request)
    assert summary is not None
    assert "rows: waits for the ledger outside" in map(str, summary.steps)
    settings.ERASURE_LEDGER_URL = before
    assert process().erasures_done == 1
    assert Erasure.objects.get(request=request).state == "erased"


def test_changed_plan__stops_and_needs_a_new_approval(shelf: Shelf, settings: Settings) -> None:
    person = full_life()
    request = approved(person)
    settings.BACKUP_RETENTION_DAYS = 30
    with pytest.raises(
        PlanRefused, match=rf"\(new: backup_days\): nothing was erased\. Run manage\.py privacy_request approve {request.pk}"
    ):
        erase_request(request.pk)
    assert (Erasure.objects.get().state, Erasure.objects.get().stop_reason) == ("stopped", "plan_changed")
    assert User.objects.filter(pk=person.pk).exists()
    assert process().erasures_done == 0
    with pytest.raises(UserFacingError, match="has no approved plan"):
        erase_request(request.pk)
    with pytest.raises(UserFacingError, match="recorded by the same account"):
        steps.approve(request.pk, actor_id=RECORDER)
    steps.approve(request.pk, actor_id=APPROVER)
    erase_request(request.pk)
    assert set(Erasure.objects.values_list("state", "hid_user")) == {("stopped", True), ("erased", True)}


def test_old_plan__is_refused(shelf: Shelf) -> None:
    request = approved(full_life())
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE erasures DISABLE TRIGGER erasures_step_check;"
            "UPDATE erasures SET sealed_at = sealed_at - interval '31 days';"
            "ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_step_check"
        )
    with pytest.raises(PlanRefused, match="older than 30 days: nothing was erased"):
        erase_request(request.pk)
    assert Erasure.objects.get().stop_reason == "too_old"


@pytest.mark.parametrize("close", ["withdraw", "refuse"])
def test_closed_request__shows_the_user_again(close: str, shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    if close == "withdraw":
        steps.withdraw(request.pk, WithdrawalReason.BY_PERSON)
    else:
        steps.refuse(request.pk, Ground.LEGAL_CLAIMS, informed_of_remedies=True)
    assert (Erasure.objects.get().state, Erasure.objects.get().stop_reason) == ("stopped", "request_closed")
    assert User.objects.get(pk=person.pk).deleted_at is None
    process()
    assert User.objects.filter(pk=person.pk).exists()


def test_begun_erasure__cannot_be_withdrawn(shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    shelf.after_removal = shelf.fail
    with pytest.raises(StoreUnavailable):
        erase_request(request.pk)
    with pytest.raises(UserFacingError, match="has begun and cannot be stopped"):
        steps.withdraw(request.pk, WithdrawalReason.BY_PERSON)
    shelf.reachable, shelf.after_removal = True, lambda: None
    process()
    assert (Erasure.objects.get().state, [entry.kind for entry in entries_of(person.pk)].count(Entry.ERASE)) == ("erased", 1)


def test_erase_user__carries_out_the_approved_plan(shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    erase(person.pk)
    assert (Erasure.objects.get().request, Erasure.objects.get().state) == (request, "erased")


def test_user_gone_before_the_approval__is_fulfilled(shelf: Shelf) -> None:
    person = full_life()
    request = steps.record(Kind.ERASURE, user_id=person.pk, actor_id=RECORDER)
    steps.confirm_identity(request.pk, Method.LOGIN, actor_id=RECORDER)
    erase(person.pk)
    steps.approve(request.pk, actor_id=APPROVER)
    assert process().erasures_done == 1
    assert steps.answer(request.pk).state == "answered"


def test_held_data__can_be_answered_and_is_erased_later(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    request = approved(person)
    assert process().erasures_waiting == {}
    erasure = Erasure.objects.get()
    assert (erasure.state, {step.waits_for for step in erasure.steps.filter(step__in=["rows", "files"])}) == ("sealed", {"hold"})
    assert steps.answer(request.pk).state == "answered"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE holds SET released_at = now(), released_by_account = 'ann'")
    process()
    assert Erasure.objects.get().state == "erased"
    assert not User.objects.filter(pk=person.pk).exists()


def test_two_workers__one_erases(shelf: Shelf) -> None:
    person = full_life()
    request = approved(person)
    with another_connection() as other:
        lock = AdvisoryLock(other, _lock_key(Erasure.objects.get()))
        assert lock.try_acquire()
        assert process().erasures_done == 0
        with pytest.raises(UserFacingError, match="Another process erases the user"):
            erase_request(request.pk)
        lock.release()
    assert process().erasures_done == 1


def test_commands__from_record_to_answer(shelf: Shelf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    person = full_life()

    def run(action: str, *arguments: str, account: str = "ann") -> dict[str, Any]:
        for module in ("audit", "requests.conditions"):
            monkeypatch.setattr(f"privacy.{module}.operating_system_account", lambda: account)
        call_command("privacy_request", action, *arguments, "--json")
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    key = run("record", "--kind", "erasure", "--user", str(person.pk))["id"]
    run("confirm-identity", key, "--method", "login")
    shown = run("approve", key, account="bob")
    assert (shown["erasure"]["state"], shown["next"]) == ("sealed", f"manage.py privacy_request erase {key}")
    shown = run("erase", key)
    assert (shown["erasure"]["state"], shown["next"]) == ("erased", f"manage.py privacy_request answer {key}")
    assert {step["step"] for step in shown["erasure"]["steps"] if not step["done_at"]} == {"scan", "segments", "snapshots", "backups"}
    assert run("answer", key)["state"] == "answered"
