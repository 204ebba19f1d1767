import io
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.export import count_entries, export_sections, export_user_data, preview_export, write_zip
from privacy.declarations import TableDeclaration
from privacy.registry import Effect, PersonalDataOwner, registry
from tests.factories import MatchFactory, UserFactory, VideoFactory
from tests.privacy.life import ENTRIES, full_life
from tests.privacy.shelf import Shelf
from tests.support.sessions import another_connection

pytestmark = pytest.mark.django_db(transaction=True)


def read_zip(file: Path | io.BytesIO) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist()}


class Interlude(PersonalDataOwner):
    """An owner of personal data that calls ``act`` during an export."""

    section = "interlude"
    tables: Mapping[str, TableDeclaration] = {}

    def __init__(self, act: Any) -> None:
        self.act = act

    def export(self, user_id: UUID) -> dict[str, Any]:
        self.act()
        return {}

    def anonymize(self, user_id: UUID) -> None: ...

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


def after_the_profile(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    owners = {owner.section: owner for owner in registry.owners}
    monkeypatch.setattr(registry, "_owners", {"profile": owners.pop("profile"), "interlude": Interlude(act), **owners})


def test_export_user_data__has_the_users_files(shelf: Shelf, tmp_path: Path) -> None:
    person, path = full_life(), tmp_path / "export.zip"
    exported = export_user_data(person.pk, path)
    assert (exported.user_id, exported.path, exported.size) == (person.pk, path, path.stat().st_size)
    assert {file.name: file.entries for file in exported.files} == ENTRIES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files = read_zip(path)
    assert files.keys() == ENTRIES.keys() | {"manifest.json"}
    assert files["profile.json"]["email"] == person.email
    assert files["manifest.json"]["user_id"] == str(person.pk)
    assert {str(person.pk)} == {video["user_id"] for video in files["videos.json"]}


def test_export_user_data__has_only_the_id_of_other_users(shelf: Shelf, tmp_path: Path) -> None:
    person = full_life()
    export_user_data(person.pk, tmp_path / "export.zip")
    text = json.dumps(read_zip(tmp_path / "export.zip"))
    for other in User.objects.exclude(pk=person.pk):
        assert str(other.pk) in text
        assert all(str(words) not in text for words in (other.email, other.full_name, other.bio, other.password))
    assert person.password not in text


@pytest.mark.parametrize("kind", ["deleted", "anonymized", "inactive", "staff"])
def test_export_user_data__for_each_kind_of_user(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    person = UserFactory.create(**{kind: True})
    export_user_data(person.pk, tmp_path / "export.zip")
    assert read_zip(tmp_path / "export.zip")["profile.json"]["id"] == str(person.pk)


def test_export_user_data__an_existing_file(shelf: Shelf, tmp_path: Path) -> None:
    person, path = UserFactory.create(), tmp_path / "export.zip"
    path.write_bytes(b"mine")
    for refused in (export_user_data, preview_export):
        with pytest.raises(UserFacingError, match="exists, and is not replaced without --force"):
            refused(person.pk, path)
    assert path.read_bytes() == b"mine"
    assert preview_export(person.pk, path, force=True)["profile.json"] == 1
    export_user_data(person.pk, path, force=True)
    assert zipfile.is_zipfile(path)


def test_export_user_data__unknown_user__leaves_no_file(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match=r"^PostgreSQL has no user with the id"):
        export_user_data(uuid4(), tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_export_user_data__store_unavailable__leaves_no_file(shelf: Shelf, tmp_path: Path) -> None:
    shelf.reachable = False
    with pytest.raises(StoreUnavailable, match="The shelf is too high"):
        export_user_data(UserFactory.create().pk, tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_export_user_data__error__leaves_no_file(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StoreUnavailable("Gone in the middle.")

    after_the_profile(monkeypatch, fail)
    with pytest.raises(StoreUnavailable, match="Gone in the middle"):
        export_user_data(UserFactory.create().pk, tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_export_user_data__reads_one_snapshot(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of another connection during the export is in no section, also not in sections that are read later."""
    person, friend = UserFactory.create_batch(2)
    VideoFactory.create(user=person)

    def commit_a_match() -> None:
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("DELETE FROM videos")
            cursor.execute(
                "INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at)"
                " VALUES (%s, %s, 1, 2025, 0.5, NOW())",
                [person.pk, friend.pk],
            )

    after_the_profile(monkeypatch, commit_a_match)
    export_user_data(person.pk, tmp_path / "export.zip")
    files = read_zip(tmp_path / "export.zip")
    assert len(files["videos.json"]) == 1
    assert files["matches.json"] == []


def test_export_user_data__writes_nothing_to_the_database(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[str] = []

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")
            settings.extend(cursor.fetchone())

    after_the_profile(monkeypatch, look)
    export_user_data(UserFactory.create().pk, tmp_path / "export.zip")
    assert settings == ["on", "repeatable read"]


def test_export_user_data__number_of_queries_is_constant(
    shelf: Shelf, tmp_path: Path, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    person = UserFactory.create()
    with django_assert_max_num_queries(30) as few:
        export_user_data(person.pk, tmp_path / "few.zip")
    MatchFactory.create_batch(20, user=person)
    VideoFactory.create_batch(20, user=person)
    with django_assert_num_queries(len(few)):
        export_user_data(person.pk, tmp_path / "many.zip")


def test_write_zip__to_a_file_object(shelf: Shelf) -> None:
    person, file = full_life(), io.BytesIO()
    files = write_zip(person.pk, file)
    assert {written.name: written.entries for written in files} == ENTRIES
    assert read_zip(file)["profile.json"]["email"] == person.email


def test_export_sections__in_memory(shelf: Shelf) -> None:
    person = full_life()
    sections = export_sections(person.pk)
    assert list(sections) == [
        "log_ins",
        "profile",
        "videos",
        "matches",
        "calls",
        "vector_sync",
        "vector_import",
        "erasure",
        "requests",
        "audit_log",
        "ledger",
    ]
    assert sections["profile"]["date_of_birth"] == person.date_of_birth
    assert [len(sections[name]) for name in ("videos", "matches", "calls")] == [2, 2, 2]


def test_preview_export__counts_and_writes_nothing(shelf: Shelf, tmp_path: Path) -> None:
    person = full_life()
    assert preview_export(person.pk, tmp_path / "export.zip") == count_entries(person.pk) == ENTRIES
    assert list(tmp_path.iterdir()) == []
