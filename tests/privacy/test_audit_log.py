"""The audit log: an entry for each action by a command or in the admin, and no change of an entry."""

from __future__ import annotations

import io
import os
import pwd
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.environment import BASE_DIR
from privacy import audit
from privacy.actions import export
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.export import count_entries, export_sections, export_user_data, write_zip
from privacy.actions.undo_erasure import undo_erasures
from privacy.audit import Action, Outcome, operating_system_account, record
from privacy.models import AuditEntry
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.shelf import Shelf
from tests.privacy.test_commands import run
from tests.support.commands import manage_here

pytestmark = pytest.mark.django_db

ACCOUNT = operating_system_account()
REMOVALS = pytest.mark.parametrize(
    ("remove", "action"),
    [(anonymize, "anonymize"), (soft_delete, "soft_delete"), (erase, "erase")],
    ids=["anonymize", "soft_delete", "erase"],
)
Remove = Callable[..., Any]


def make_entry(age: timedelta = timedelta(0)) -> AuditEntry:
    return AuditEntry.objects.create(
        action=Action.EXPORT, target_id=uuid4(), actor_id=uuid4(), outcome=Outcome.DONE, recorded_at=timezone.now() - age
    )


# --- Entries ----------------------------------------------------------------------------------------------------------------------


@REMOVALS
def test_removal__by_a_command_and_by_staff(remove: Remove, action: str, shelf: Shelf) -> None:
    first, second, actor = UserFactory.create(), UserFactory.create(), uuid4()
    remove(first.pk)
    remove(second.pk, actor_id=actor)
    assert audited() == [(action, ACCOUNT, first.pk, "done"), (action, actor, second.pk, "done")]


@pytest.mark.parametrize("remove", [anonymize, soft_delete], ids=["anonymize", "soft_delete"])
def test_removal__again__is_recorded_as_unchanged(remove: Remove, shelf: Shelf) -> None:
    person = UserFactory.create()
    remove(person.pk)
    remove(person.pk)
    assert [entry[3] for entry in audited()] == ["done", "unchanged"]


def test_erase__user_that_only_a_store_has(shelf: Shelf) -> None:
    user_id = uuid4()
    shelf.ids.add(user_id)
    erase(user_id)
    assert audited() == [("erase", ACCOUNT, user_id, "started"), ("erase", ACCOUNT, user_id, "done")]


@REMOVALS
def test_removal__of_an_unknown_user(remove: Remove, action: str, shelf: Shelf) -> None:
    user_id = uuid4()
    with pytest.raises(UserFacingError):
        remove(user_id)
    assert audited() == [(action, ACCOUNT, user_id, "failed")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_removal__interrupted(error: type[BaseException], shelf: Shelf) -> None:
    def interrupt() -> None:
        raise error

    person, shelf.after_removal = UserFactory.create(), interrupt
    with pytest.raises(error):
        erase(person.pk)
    assert User.objects.filter(pk=person.pk).exists() and [entry[3] for entry in audited()] == ["unknown"]


@pytest.mark.django_db(transaction=True)
@REMOVALS
def test_removal__entry_cannot_be_written__is_rolled_back(remove: Remove, action: str, shelf: Shelf) -> None:
    person = UserFactory.create()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE audit_log ADD CONSTRAINT no_entry CHECK (action <> '{action}') NOT VALID")
    try:
        with pytest.raises((UserFacingError, DatabaseError)):
            remove(person.pk)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_log DROP CONSTRAINT no_entry")
    assert User.objects.filter(pk=person.pk, email=person.email, deleted_at=None).exists() and audited() == []


@pytest.mark.django_db(transaction=True)
def test_failure__that_cannot_be_recorded__is_logged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(*_arguments: object, **_options: object) -> None:
        raise DatabaseError("Failing row contains (secret)")

    def fail() -> None:
        monkeypatch.setattr(AuditEntry.objects, "bulk_create", lost)
        shelf.fail()

    person, shelf.after_removal = UserFactory.create(), fail
    with pytest.raises(StoreUnavailable):
        erase(person.pk)
    assert caplog.messages == [f"The audit log has no entry for this action: erase of {person.pk} failed (DatabaseError)."]
    assert User.objects.filter(pk=person.pk).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["file", "zip", "sections"])
def test_export__each_way(how: str, shelf: Shelf, tmp_path: Path) -> None:
    person, actor = UserFactory.create(), uuid4()
    ways: dict[str, Callable[..., Any]] = {
        "file": lambda **options: export_user_data(person.pk, tmp_path / "export.zip", **options),
        "zip": lambda **options: write_zip(person.pk, io.BytesIO(), **options),
        "sections": lambda **options: export_sections(person.pk, **options),
    }
    ways[how](actor_id=actor)
    assert audited() == [("export", actor, person.pk, "done")]


@pytest.mark.django_db(transaction=True)
def test_export__entry_cannot_be_written__no_file(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_arguments: object, **_options: object) -> None:
        assert list(tmp_path.iterdir()) == []
        raise DatabaseError

    person = UserFactory.create()
    monkeypatch.setattr(export, "record", lost)
    with pytest.raises(DatabaseError):
        export_user_data(person.pk, tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == [] and [entry[3] for entry in audited()] == ["failed"]


def test_export__to_an_existing_file(shelf: Shelf, tmp_path: Path) -> None:
    person, path = UserFactory.create(), tmp_path / "export.zip"
    path.touch()
    with pytest.raises(UserFacingError):
        export_user_data(person.pk, path)
    assert audited() == [("export", ACCOUNT, person.pk, "failed")]


@pytest.mark.django_db(transaction=True)
def test_previews__are_not_recorded(shelf: Shelf) -> None:
    person = UserFactory.create()
    count_entries(person.pk)
    for command in (("anonymize_user",), ("erase_user", "--hard"), ("erase_user", "--soft")):
        run(*command, person.pk, "--dry-run")
    assert audited() == []


@pytest.mark.django_db(transaction=True)
def test_commands__each_adds_an_entry(shelf: Shelf, tmp_path: Path) -> None:
    person = UserFactory.create()
    run("export_user", person.pk, "--output", tmp_path / "export.zip")
    run("erase_user", person.pk, "--soft", "--no-input")
    run("anonymize_user", person.pk, "--no-input")
    run("erase_user", person.pk, "--hard", "--no-input")
    assert audited() == [(action, ACCOUNT, person.pk, "done") for action in ("export", "soft_delete", "anonymize", "erase")]


def test_undo_erasures__adds_an_entry_for_each_erased_user(shelf: Shelf) -> None:
    person, other = UserFactory.create_batch(2)
    anonymize(person.pk)
    assert undo_erasures([person.pk, other.pk]) == 1
    assert audited()[1:] == [("undo_erasure", ACCOUNT, person.pk, "done")]


def test_undo_erasure__output(shelf: Shelf) -> None:
    person = UserFactory.create()
    erase(person.pk)
    out, err = run("undo_erasure", person.pk)
    assert (out, err) == (f"Data of {person.pk} can be written again. No data was restored.\n", "")
    with pytest.raises(CommandError, match=r"is neither anonymized nor deleted for good: nothing was changed\."):
        run("undo_erasure", person.pk)
    assert [entry[0] for entry in audited()] == ["erase", "undo_erasure"]
    UserFactory.create(pk=person.pk)


@pytest.mark.parametrize(
    ("login_uid", "account"),
    [
        (str(os.getuid()), pwd.getpwuid(os.getuid()).pw_name),
        ("4294967295", pwd.getpwuid(os.getuid()).pw_name),
        ("4000000000", "4000000000"),
        (None, pwd.getpwuid(os.getuid()).pw_name),
    ],
    ids=["a login", "a service", "without a name", "not Linux"],
)
def test_operating_system_account(login_uid: str | None, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LOGIN_UID", tmp_path / "loginuid")
    if login_uid is not None:
        audit.LOGIN_UID.write_text(login_uid)
    assert operating_system_account() == account


# --- Append-only ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET outcome = 'failed'", "DELETE FROM audit_log", "TRUNCATE audit_log", "UPDATE audit_log SET id = id"]
)
def test_triggers__reject_changes_of_every_role(statement: str, role: str) -> None:
    entry = make_entry()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {role}")
        with pytest.raises(IntegrityError, match="The audit log is append-only"), transaction.atomic():
            cursor.execute(statement)
    assert AuditEntry.objects.get() == entry


def test_triggers__reject_a_merge() -> None:
    entry = make_entry()
    upsert = "INSERT INTO audit_log SELECT * FROM audit_log ON CONFLICT (id) DO UPDATE SET outcome = 'failed'"
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(upsert)
    entry.outcome = Outcome.FAILED
    for change in (entry.save, entry.delete):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    assert AuditEntry.objects.get().outcome == Outcome.DONE


def test_apply_retention__deletes_entries_older_than_three_years() -> None:
    young, old = make_entry(audit.RETENTION - timedelta(minutes=1)), make_entry(audit.RETENTION + timedelta(minutes=1))
    code, out, err = manage_here("apply_retention")
    assert (code, out.splitlines()[-1], err) == (0, "audit_log: 1 row older than 1095 days deleted.", "")
    assert list(AuditEntry.objects.all()) == [young] != [old]


def test_retention__equals_that_of_the_trigger() -> None:
    text = (BASE_DIR / "privacy" / "migrations" / "sql" / "0002_audit_log.up.sql").read_text()
    assert re.findall(r"interval '(\d+) days'", text) == [str(audit.RETENTION.days)]


@pytest.mark.parametrize(
    "values",
    [
        {"action": "look"},
        {"outcome": "great"},
        {"actor_id": None},
        {"actor_account": "root"},
        {"target_id": None},
        {"collection": "profiles"},
        {"action": "adopt"},
        {"action": "adopt", "target_id": None},
        {"action": "adopt", "collection": "profiles"},
    ],
    ids=str,
)
def test_constraints__of_an_entry(values: dict[str, Any]) -> None:
    entry: dict[str, Any] = {"action": "export", "target_id": uuid4(), "actor_id": uuid4(), "outcome": "done"}
    AuditEntry.objects.create(**entry)
    AuditEntry.objects.create(**{**entry, "action": "adopt", "target_id": None, "collection": "profiles"})
    with pytest.raises(IntegrityError, match="_check"), transaction.atomic():
        AuditEntry.objects.create(**{**entry, **values})


# --- Data of one user -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_export__has_the_entries_about_the_user(shelf: Shelf) -> None:
    person, actor = UserFactory.create(), UserFactory.create(is_staff=True)
    record(Action.EXPORT, person.pk, actor_id=actor.pk)
    (about,) = export_sections(person.pk)["audit_log"]
    assert {name: about[name] for name in ("action", "target_id", "outcome")} == {
        "action": "export",
        "target_id": person.pk,
        "outcome": "done",
    }
    assert str(actor.pk) not in str(about)
    by = export_sections(actor.pk)["audit_log"]
    assert re.fullmatch(r"person-[a-z2-7]{16}", by[0]["target_id"])


def test_entries__stay_after_both_users_are_deleted(shelf: Shelf) -> None:
    person, actor = UserFactory.create(), UserFactory.create(is_staff=True)
    erase(person.pk, actor_id=actor.pk)
    erase(actor.pk)
    assert audited() == [("erase", actor.pk, person.pk, "done"), ("erase", ACCOUNT, actor.pk, "done")]
