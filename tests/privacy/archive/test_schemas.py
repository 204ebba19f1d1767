"""An export agrees with its schemas, which have every field that it has and no other."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from privacy.actions.export import export_user_data
from privacy.audit import Action, record
from privacy.json_schemas import DIALECT, section_of
from privacy.registry import registry
from tests.privacy.checks.owner import Owner
from tests.privacy.life import full_life, working_life
from tests.privacy.test_declarations import make_requests
from tests.support.collections import live as live
from tests.support.json_schema import errors
from vectorstore.models import QuarantinedUser, QueueEntry
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db(transaction=True)


def read_zip(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")}


def checked(files: dict[str, Any]) -> set[str]:
    """Check each JSON file against its schema, and return the names of those that were checked."""
    found = {name.removesuffix(".json") for name in files if "/" not in name}
    for name in found:
        schema = files[f"schemas/{name}.schema.json"]
        assert schema["$schema"] == DIALECT
        assert list(errors(files[f"{name}.json"], schema)) == [], name
    return found


def test_export__agrees_with_its_schemas(live: str, tmp_path: Path, settings: Any) -> None:
    settings.REQUEST_RECIPIENTS = ["film-storage"]
    person = full_life()
    sync_users([person.pk])
    working_life(person)
    make_requests(person)
    record(Action.EXPORT, person.pk, actor_id=None)
    QueueEntry.objects.create(user_id=person.pk)
    QuarantinedUser.objects.create(user_id=person.pk, reason="a reason", collection=live)
    export_user_data(person.pk, tmp_path / "export.zip")
    files = read_zip(tmp_path / "export.zip")
    assert checked(files) == {*(owner.section for owner in registry.owners), "files", "manifest"}
    assert files["vector_store.json"]["point"]["payload"]
    assert all(files[f"{name}.json"] for name in ("videos", "matches", "calls", "requests", "audit_log", "files"))
    assert files["profile.json"]["admin_log"]


def test_export__of_an_empty_user__agrees_with_its_schemas(live: str, tmp_path: Path) -> None:
    export_user_data(
        User.objects.create(email="new@example.com", full_name="New", date_of_birth="1990-01-01", gender="male").pk, tmp_path / "export.zip"
    )
    assert "profile" in checked(read_zip(tmp_path / "export.zip"))


def test_schema__describes_a_field(live: str) -> None:
    schema = next(owner for owner in registry.owners if owner.section == "videos").export_schema()
    status = schema["items"]["properties"]["status"]
    assert status == {
        "type": "string",
        "description": "One of: uploading, processing, verifying, verified, rejected, error. Category: videos and recordings."
        " Purpose: verification of the users' videos. Legal basis: article 6(1)(b), article 6(1)(f). Kept until the account is erased.",
    }
    assert schema["items"]["properties"]["verification_score"]["type"] == ["number", "string", "null"]
    assert schema["items"]["additionalProperties"] is False


def test_schema__by_default__takes_a_row_and_rows() -> None:
    owner = Owner("videos", {"videos.Video": ["id", "duration"]}, videos_Video=["user"])
    schema = section_of(owner.tables)
    row = {"id": "11111111-2222-4333-8444-555555555555", "duration": 5}
    assert list(errors(row, schema)) == list(errors([row, row], schema)) == []
    for wrong in ({"id": row["id"]}, {**row, "duration": "5"}, {**row, "more": 1}, {**row, "id": "x"}):
        assert list(errors(wrong, schema))
