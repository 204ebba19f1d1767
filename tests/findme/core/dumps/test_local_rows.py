"""Tables that ``dumpdata`` and ``loaddata`` copy to another database, and rows that they reject."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.db.models import Model

from accounts.models import User
from findme.core.dumps.local_rows import local_models, reason_not_to_copy
from privacy.models import ErasedUser
from tests.factories import UserFactory
from tests.support.commands import manage_here, refused
from tests.support.staff import staff
from vectorstore.models import QueueEntry, StoreState, VectorCollection

COPIED = {
    "accounts.user",
    "videos.video",
    "matching.match",
    "calls.videocall",
    "vectorstore.profileembedding",
    "privacy.eraseduser",
    "auth.group",
    "admin.logentry",
}


def labels(models: list[type[Model]]) -> set[str]:
    return {model._meta.label_lower for model in models}


def dumped(*arguments: str, **options: Any) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("dumpdata", *arguments, stdout=out, verbosity=0, **options)
    return list(json.loads(out.getvalue()))


def fixture(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return str(path)


def a_user() -> dict[str, Any]:
    fields = {"email": "bob@example.org", "full_name": "Bob", "date_of_birth": "1990-01-01", "gender": "male", "password": ""}
    return {"model": "accounts.user", "pk": str(uuid4()), "fields": fields}


def test_local_rows__every_table_is_decided() -> None:
    """Add a new model here, or give it ``not_copied`` with a reason."""
    stored = {model for model in apps.get_models() if model._meta.managed and not model._meta.proxy}
    assert labels([model for model in stored if reason_not_to_copy(model) is None]) == COPIED


def test_local_rows__only_rows_that_identify_the_database_survive_a_flush() -> None:
    kept = [model for model in apps.get_models() if getattr(model, "kept_by_flush", False)]
    assert {model._meta.db_table for model in kept} == {
        "erased_users",
        "audit_log",
        "erasure_ledger",
        "erasure_ledger_state",
        "ledger_checkpoints",
        "pending_actions",
        "holds",
        "data_subject_requests",
        "request_recipients",
        "erasures",
        "erasure_steps",
        "backups",
        "vector_store_state",
        "vector_collections",
        "vector_sync_queue",
        "vector_sync_leases",
        "vector_sync_workers",
    }
    assert set(kept) - {ErasedUser} <= set(local_models())  # erased users stay erased in another database


@pytest.mark.django_db
def test_dumpdata__of_everything_has_only_rows_that_may_be_copied() -> None:
    person = staff("accounts.view_user")
    Group.objects.create(name="Editors").permissions.add(Permission.objects.get(codename="view_user"))
    LogEntry.objects.create(
        user=person, content_type=ContentType.objects.get_for_model(User), object_id=str(person.pk), action_flag=CHANGE, change_message=""
    )
    StoreState.current()
    QueueEntry.objects.create(user_id=person.pk)
    rows = dumped()
    assert {row["model"] for row in rows} == {"accounts.user", "auth.group", "admin.logentry"}
    by_model = {row["model"]: row["fields"] for row in rows}
    named = [["view_user", "accounts", "user"]]
    assert by_model["accounts.user"]["user_permissions"] == by_model["auth.group"]["permissions"] == named
    assert by_model["admin.logentry"]["content_type"] == ["accounts", "user"]
    assert by_model["admin.logentry"]["user"] == str(person.pk)


@pytest.mark.django_db
def test_dumpdata__names_the_omitted_tables() -> None:
    code, out, err = manage_here("dumpdata", "vectorstore")
    assert (code, json.loads(out)) == (0, [])
    assert err == (
        "Left out because they belong to this database: vectorstore.vectorcollection, vectorstore.storestate, vectorstore.verification,"
        " vectorstore.vectorimport, vectorstore.importdigest, vectorstore.queueentry, vectorstore.synclease, vectorstore.syncworker,"
        " vectorstore.quarantineduser.\n"
    )
    assert manage_here("dumpdata", "accounts", "auth.group") == (0, "[]", "")


@pytest.mark.parametrize("model", sorted(labels(local_models())))
def test_dumpdata__rejects_a_local_model_by_name(model: str, tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    reason = reason_not_to_copy(apps.get_model(model))
    expected = f"{model} is never copied to another database: {reason}. Nothing was written. Leave it out."
    assert refused("dumpdata", "accounts", model, output=str(path)) == expected
    assert refused("dumpdata", apps.get_model(model)._meta.label) == expected
    assert not path.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("model", sorted(labels(local_models())))
def test_loaddata__rejects_rows_of_another_database(model: str, tmp_path: Path) -> None:
    """The rows can be anywhere in the file. Rows before them are not loaded either."""
    StoreState.current()
    before = list(StoreState.objects.values())
    row = {"model": model, "pk": pk_of(model), "fields": {}}
    path = fixture(tmp_path, a_user(), row)
    assert refused("loaddata", path) == (
        f"The file has rows of {model}, which must not be copied to another database: {reason_not_to_copy(apps.get_model(model))}. Nothing was"
        f" changed. Exclude them with --exclude {model}."
    )
    assert not User.objects.exists()
    assert list(StoreState.objects.values()) == before
    call_command("loaddata", path, exclude=[model], verbosity=0)
    assert User.objects.count() == 1
    assert list(StoreState.objects.values()) == before


def pk_of(model: str) -> Any:
    key = apps.get_model(model)._meta.pk
    assert key is not None
    kind = key.target_field if key.is_relation else key
    return str(uuid4()) if kind.get_internal_type() == "UUIDField" else "1"


@pytest.mark.django_db
def test_loaddata__command_reports_it_in_one_line(tmp_path: Path) -> None:
    path = fixture(tmp_path, {"model": "vectorstore.vectorcollection", "pk": "x_v1", "fields": {}})
    code, out, err = manage_here("loaddata", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("CommandError: The file has rows of vectorstore.vectorcollection, which must not be copied")
    assert not VectorCollection.objects.exists()


@pytest.mark.django_db
def test_loaddata__permissions_are_found_by_their_names(tmp_path: Path) -> None:
    """Another database has other ids for permissions."""
    editors = Group.objects.create(name="Editors")
    editors.permissions.add(Permission.objects.get(codename="view_user"))
    UserFactory.create(staff=True).groups.add(editors)
    path = tmp_path / "all.json"
    call_command("dumpdata", output=str(path), verbosity=0)
    User.objects.all().delete()
    ErasedUser.objects.all().delete()
    editors.delete()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE auth_permission SET id = -id")
    call_command("loaddata", str(path), verbosity=0)
    assert list(Group.objects.get().permissions.values_list("codename", flat=True)) == ["view_user"]
    assert User.objects.get().groups.get().name == "Editors"
