import io
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.utils.html import escape
from pytest_django import Settings

from accounts.models import User
from calls.models import VideoCall
from findme.core.errors import StoreUnavailable, UserFacingError
from matching.models import Match
from privacy.actions import export as exporting
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.export import count_entries, export_sections, export_user_data, preview_export, write_zip
from privacy.archive.files import write_files
from privacy.archive.readme import readme
from privacy.audit import Action, record
from privacy.declarations import SOURCES, Category, TableDeclaration
from privacy.models.request_choices import Kind as RequestKind
from privacy.registry import Effect, PersonalDataOwner, registry
from privacy.requests import steps
from privacy.retention_policy import approve, current_policy
from tests.factories import MatchFactory, UserFactory, VideoFactory
from tests.privacy.audit import audited
from tests.privacy.life import ENTRIES, full_life, working_life
from tests.privacy.shelf import Shelf
from tests.support.sessions import another_connection

pytestmark = pytest.mark.django_db(transaction=True)


def read_zip(file: Path | io.BytesIO) -> dict[str, Any]:
    """Return the JSON files without their schemas."""
    with zipfile.ZipFile(file) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json") and "/" not in name}


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


def everything(path: Path) -> str:
    """Return the names and the contents of all members in small letters."""
    with zipfile.ZipFile(path) as archive:
        return "\n".join(f"{name}\n{archive.read(name).decode()}" for name in archive.namelist()).casefold()


def test_export_user_data__has_nothing_of_other_users(shelf: Shelf, tmp_path: Path) -> None:
    """Their names, addresses and ids are also in texts that any program can write."""
    person = full_life()
    working_life(person)
    for match in Match.objects.all():
        other = match.matched_user if match.user_id == person.pk else match.user
        named = {"names": [other.full_name, person.full_name], other.email: 1, "ids": [str(other.pk), other.pk.hex], "codec": "vp9"}
        VideoCall.objects.filter(match=match).update(
            metadata=named, session_id=f"s-{other.pk}", recording_url=f"https://calls.example/{other.pk}"
        )
        VideoFactory.create(user=person, metadata={"seen_by": [str(other.pk), other.email]}, rejection_reason=f"{other.pk} reported it")
        LogEntry.objects.update(change_message=f"{other.email} {other.pk}")
        record(Action.ERASE, other.pk, actor_id=person.pk)
        User.objects.filter(pk=person.pk).update(bio=f"Ask {other.email} about me")
    export_user_data(person.pk, tmp_path / "export.zip")
    text = everything(tmp_path / "export.zip")
    others = User.objects.exclude(pk=person.pk)
    assert len(others) >= 3
    for other in others:
        words = (other.pk, other.pk.hex, other.email, other.full_name, other.bio, other.password)
        assert [word for word in words if word and str(word).casefold() in text] == []
    assert person.password.casefold() not in text
    assert "vp9" in text and person.full_name.casefold() in text and person.email.casefold() in text


def test_export_user_data__of_staff__has_no_request_of_another_person(shelf: Shelf, tmp_path: Path) -> None:
    """An id of a request would join the pseudonyms of two exports."""
    officer, other = UserFactory.create(staff=True), UserFactory.create()
    theirs, own = (steps.record(RequestKind.ACCESS, user_id=user.pk, actor_id=officer.pk) for user in (other, officer))
    record(Action.LIFT_RESTRICTION, other.pk, actor_id=officer.pk, informed_on=date(2026, 11, 27))
    export_user_data(officer.pk, tmp_path / "export.zip")
    text = everything(tmp_path / "export.zip")
    assert str(theirs.pk) not in text and "2026-11-27" not in text and str(own.pk) in text
    entries = read_zip(tmp_path / "export.zip")["audit_log.json"]
    assert [(entry["action"], entry["request_id"]) for entry in entries] == [
        ("request_record", None),
        ("request_record", str(own.pk)),
        ("lift_restriction", None),
    ]


def test_export_user_data__one_person_has_one_pseudonym_in_one_export(shelf: Shelf, tmp_path: Path) -> None:
    person = full_life()
    for name in ("first", "second"):
        export_user_data(person.pk, tmp_path / f"{name}.zip")
    first, second = (read_zip(tmp_path / f"{name}.zip") for name in ("first", "second"))
    pseudonyms = []
    for files in (first, second):
        matches = {row[name] for row in files["matches.json"] for name in ("user_id", "matched_user_id")}
        assert matches == {row[name] for row in files["calls.json"] for name in ("caller_id", "callee_id")}
        assert len(matches) == 3
        assert str(person.pk) in matches
        pseudonyms.append(matches - {str(person.pk)})
    assert all(re.fullmatch(r"person-[a-z2-7]{16}", one) for found in pseudonyms for one in found)
    assert not pseudonyms[0] & pseudonyms[1]


def test_export_user_data__files_of_a_store_are_in_the_zip(shelf: Shelf, tmp_path: Path, settings: Settings) -> None:
    store = tmp_path / "store"
    store.mkdir()
    content = b"film" * 1_000_000
    (store / "wilhelmina-quux.mp4").write_bytes(content)
    settings.FILE_STORES = {"https://videos.example/": str(store)}
    person = full_life()
    export_user_data(person.pk, tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        rows = {row["address"]: row for row in json.loads(archive.read("files.json"))}
        film, picture = (rows.pop(f"https://videos.example/wilhelmina-quux.{ending}") for ending in ("mp4", "jpg"))
        assert archive.read(film["file"]) == content
        (member,) = (one for one in json.loads(archive.read("manifest.json"))["files"] if one["name"] == film["file"])
        assert (member["size"], member["sha256"]) == (len(content), sha256(content).hexdigest())
    assert (film["state"], picture["state"], picture["file"]) == ("included", "missing", None)
    assert {row["state"] for row in rows.values()} == {"elsewhere"}
    assert not any("calls.example" in address for address in rows)


@pytest.mark.parametrize("remove", [erase, anonymize])
def test_export_user_data__user_removed_while_the_files_are_read__leaves_no_file(
    shelf: Shelf, tmp_path: Path, remove: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows were read before. To read the files can take hours."""
    person = full_life()
    read = write_files

    def remove_then_read(archive: Any, addresses: Any) -> Any:
        remove(person.pk)
        return read(archive, addresses)

    monkeypatch.setattr(exporting, "write_files", remove_then_read)
    with pytest.raises(UserFacingError, match=r"was erased or anonymized meanwhile: no export was made\.$"):
        export_user_data(person.pk, tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []
    assert [(entry[0], entry[3]) for entry in audited()][-1] == ("export", "failed")


def test_export_user_data__file_store_unavailable__leaves_no_file(shelf: Shelf, tmp_path: Path, settings: Settings) -> None:
    settings.FILE_STORES = {"https://videos.example/": str(tmp_path / "absent")}
    person = full_life()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        export_user_data(person.pk, tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


class Page(HTMLParser):
    """Collects the tags, and finds one that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_export_user_data__has_the_information_of_article_15(shelf: Shelf, tmp_path: Path, settings: Settings) -> None:
    settings.PRIVACY_CONTROLLER = "<b>Find & Me</b> GmbH\nBerlin"
    person = full_life()
    export_user_data(person.pk, tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert archive.namelist()[0] == "README.html"
        text = archive.read("README.html").decode()
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "b"}
    assert not re.search(r"url\(|@import|https?:|src=|href=|expression", text)
    assert "&lt;b&gt;Find &amp; Me&lt;/b&gt; GmbH<br>Berlin" in text
    assert "Ask the company that sent you this file." in text
    for declared in {part for owner in registry.owners for part in owner.data}:
        for word in (declared.purpose.name, declared.category, str(declared.retention), *declared.recipients, SOURCES[declared.category]):
            assert escape(word)[1:] in text, word
        assert escape(declared.purpose.automated_decisions) in text
    assert all(category in SOURCES for category in Category)


def test_readme__has_the_time_limits_of_approved_rules(shelf: Shelf, settings: Settings) -> None:
    settings.RETENTION_RULES = {"hidden_users": 30, "matches": 730}
    person, made_at = UserFactory.create(), datetime(2027, 3, 1, tzinfo=UTC)
    assert "730 days" not in readme(person.pk, made_at) and "erase accounts" not in readme(person.pk, made_at)
    approve(current_policy(), current_policy().version)
    text = readme(person.pk, made_at)
    assert "<li>Softly deleted users: 30 days after the deletion</li>" in text
    assert "Until the account is erased; matches without a call: 730 days after their creation</td>" in text


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
    with django_assert_max_num_queries(40) as few:
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
        "exports",
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
