"""An erasure from the request to the certificate, by the commands of docs/privacy.md, with Qdrant embedded and on a server."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from pytest_django import Settings

from accounts.models import User
from privacy.models import DataSubjectRequest
from privacy.requests import steps
from tests.privacy.life import WORDS, full_life
from tests.support.commands import manage_here
from tests.support.dumps import dump
from vectorstore.sync.inline import point_of, sync_users

pytestmark = pytest.mark.django_db(transaction=True)

OFFICER = UUID(int=7)
"""The approval needs another account than the one that records the request, and a test has one account of the operating system."""


def command(*arguments: object) -> str:
    code, out, err = manage_here(*arguments)
    assert (code, err) == (0, ""), arguments
    return out


def certificate_of(request: DataSubjectRequest, folder: Path) -> dict[str, Any]:
    """Print the certificate, verify it without the database's help, and return its contents."""
    file = folder / "certificate.jws"
    file.write_text(command("erasure_certificate", request.pk))
    command("verify_certificate", file, "--public-keys", f"{settings.PRIVACY_SIGNING_KEY}.pub", "--ledger", settings.ERASURE_LEDGER_URL)
    payload = file.read_text().split(".")[1]
    contents: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return contents


def test_erasure__from_the_request_to_the_certificate(collection: str, tmp_path: Path, settings: Settings) -> None:
    settings.BACKUP_RETENTION_DAYS = 30
    person = full_life()
    sync_users([person.pk])
    assert point_of(person.pk) is not None
    command("privacy_request", "record", "--kind", "erasure", "--user", person.email, "--contact", "answer@example.org")
    request = DataSubjectRequest.objects.get()
    command("privacy_request", "confirm-identity", request.pk, "--method", "login")
    code, _, err = manage_here("erasure_certificate", request.pk)
    assert code == 2 and len(err.splitlines()) == 1  # nothing is erased yet
    steps.approve(request.pk, actor_id=OFFICER)
    assert point_of(person.pk) is None  # hidden at once
    assert manage_here("privacy_request", "answer", request.pk)[0] == 2
    assert f"To do: Run manage.py privacy_request erase {request.pk}" in command("privacy_request", "show", request.pk)
    command("process_requests", "--once")
    assert f"To do: Delete the files of {person.pk} that no store of FILE_STORES has." in command("privacy_request", "show", request.pk)
    assert not User.objects.filter(pk=person.pk).exists()
    assert [word for word in WORDS if word in dump()] == []
    command("privacy_request", "answer", request.pk)

    contents = certificate_of(request, tmp_path)
    assert (contents["request"], contents["is_erased"], contents["is_purged"]) == (str(request.pk), True, False)
    assert contents["plan"]["deleted"]["users"] == 1 and contents["plan"]["deleted"]["videos"] == 2
    assert "vector_store" in contents["plan"]["stores"]
    assert {step["step"]: step["count"] for step in contents["steps"]}["point"] == 1  # it was deleted by the approval
    # The embedded store overwrites what it deletes, and has no snapshots.
    assert contents["open_steps"] == (["backups"] if collection == "embedded" else ["segments", "snapshots", "backups"])
    assert str(person.pk) not in json.dumps(contents) and person.email not in json.dumps(contents)

    command("verify_ledger")
    if collection != "embedded":
        command("sync_qdrant", "--once")
        command("purge_qdrant", "--snapshots", "--log")
        command("process_requests", "--once")
        left = certificate_of(request, tmp_path)
        assert left["open_steps"] == ["backups"]
