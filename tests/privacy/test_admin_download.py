"""Download of an export in the admin."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import pytest
from django.urls import reverse

from findme.core.files import unnamed_file
from privacy.actions import export
from privacy.admin import download
from privacy.admin.actions import EXPORT
from privacy.admin.view import page_url
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.staff import said, signed_in, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)


def content_of(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def opened(content: bytes) -> ZipFile:
    return ZipFile(io.BytesIO(content))


def test_preview__counts_the_entries_of_each_file(shelf: Shelf) -> None:
    person = full_life()
    (preview,) = signed_in(superuser()).get(page_url(EXPORT, [person.pk])).context["previews"]
    assert set(preview.lines) == {
        ("log_ins.json", 1, "in the zip"),
        ("profile.json", 1, "in the zip"),
        ("videos.json", 2, "in the zip"),
        ("matches.json", 2, "in the zip"),
        ("calls.json", 2, "in the zip"),
        ("vector_sync.json", 1, "in the zip"),
        ("vector_import.json", 1, "in the zip"),
        ("erasure.json", 1, "in the zip"),
        ("requests.json", 0, "in the zip"),
        ("exports.json", 0, "in the zip"),
        ("audit_log.json", 0, "in the zip"),
        ("ledger.json", 0, "in the zip"),
        ("files.json", 3, "in the zip"),
    }
    assert audited() == []


def test_export__one(shelf: Shelf) -> None:
    person = full_life()
    officer = staff("accounts.view_user", "accounts.export_personal_data")
    response = signed_in(officer).post(page_url(EXPORT, [person.pk]))
    assert response.headers["Content-Disposition"] == f'attachment; filename="personal-data-{person.pk}.zip"'
    assert "no-store" in response.headers["Cache-Control"]
    archive = opened(content_of(response))
    assert json.loads(archive.read("profile.json"))["email"] == person.email
    assert person.password.encode() not in b"".join(archive.read(name) for name in archive.namelist())
    assert audited() == [("export", officer.pk, person.pk, "done")]


def test_export__without_permission(shelf: Shelf) -> None:
    client = signed_in(staff("accounts.view_user", "accounts.erase_user", "accounts.anonymize_user", "accounts.soft_delete_user"))
    assert client.post(page_url(EXPORT, [UserFactory.create().pk])).status_code == 403
    assert client.get(page_url(EXPORT, [UserFactory.create().pk])).status_code == 403


def test_export__of_a_colleague__is_for_superusers_only(shelf: Shelf) -> None:
    colleague = superuser()
    response = signed_in(staff("accounts.view_user", "accounts.export_personal_data")).post(page_url(EXPORT, [colleague.pk]))
    assert said(response) == ["The export failed: This user is a staff member: only a superuser may do this."]
    assert opened(content_of(signed_in(superuser()).post(page_url(EXPORT, [colleague.pk])))).testzip() is None


def test_export__several(shelf: Shelf) -> None:
    users = UserFactory.create_batch(2)
    client, selected = signed_in(superuser()), {"action": "export_selected", "_selected_action": [str(person.pk) for person in users]}
    address = client.post(reverse("admin:accounts_user_changelist"), selected).headers["Location"]
    response = client.post(address)
    assert response.headers["Content-Disposition"] == 'attachment; filename="personal-data-2-users.zip"'
    archive = opened(content_of(response))
    assert set(archive.namelist()) == {f"{person.pk}.zip" for person in users}
    for person in users:
        assert json.loads(opened(archive.read(f"{person.pk}.zip")).read("profile.json"))["email"] == person.email
    assert {entry[2] for entry in audited()} == {person.pk for person in users}


def test_export__several_and_one_fails__has_the_others(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    first, second = UserFactory.create_batch(2)

    def write_zip(user_id: UUID, file: Any, **options: Any) -> Any:
        if user_id == first.pk:
            file.write(b"the beginning of something")
            raise ZeroDivisionError
        return export.write_zip(user_id, file, **options)

    monkeypatch.setattr(download, "write_zip", write_zip)
    response = signed_in(superuser()).post(page_url(EXPORT, [first.pk, second.pk]))
    archive = opened(content_of(response))
    assert archive.namelist() == [f"{second.pk}.zip", "NOT_EXPORTED.txt"]
    reason = "The server's log has the error. Check these users before you try again."
    assert archive.read("NOT_EXPORTED.txt").decode() == f"{first.pk}: {reason}\n"


def test_export__store_unavailable__is_refused(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.reachable = False
    client = signed_in(superuser())
    response = client.post(page_url(EXPORT, [person.pk]))
    assert response.headers["Location"] == page_url(EXPORT, [person.pk])
    assert said(response) == [f"The export failed for {person.pk}: The shelf is too high. Fetch a ladder."]
    assert [entry[2:] for entry in audited()] == [(person.pk, "failed")]


def test_export__leaves_no_readable_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shelf: Shelf) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files: list[Any] = []

    def remembered(folder: Path) -> Any:
        assert folder == tmp_path
        files.append(unnamed_file(folder))
        return files[-1]

    monkeypatch.setattr(download, "unnamed_file", remembered)
    response = signed_in(superuser()).post(page_url(EXPORT, [full_life().pk]))
    (file,) = files
    assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []
    content_of(response)
    assert file.closed
