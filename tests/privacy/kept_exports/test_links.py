"""A link opens its export once, before its end, and nothing else does."""

from __future__ import annotations

import stat
import subprocess
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.export import write_archive
from privacy.actions.export_link import TooManyExports, make_export_link, preview_export_link
from privacy.kept_exports import folder as folders
from privacy.kept_exports import links
from privacy.kept_exports.encryption import EncryptedWriter
from privacy.kept_exports.links import LinkOver, begin_download, digest_of, find, new_token
from privacy.kept_exports.removal import mark_deleted, remove_exports_of, remove_files_without_row, remove_finished_exports
from privacy.models import AuditEntry, KeptExport
from privacy.registry import registry
from privacy.requests import steps
from privacy.requests.jobs import process
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.kept_exports.rows import change, downloaded, make_row, token_of
from tests.privacy.life import WORDS, full_life
from tests.privacy.shelf import Shelf
from tests.support.commands import environment
from tests.support.processes import run_program, start_python
from tests.support.sessions import another_connection
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_link__opens_the_export_once(shelf: Shelf, folder: Path) -> None:
    person, officer = full_life(), uuid4()
    link = make_export_link(person.pk, actor_id=officer)
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(word.encode() in path.read_bytes() for word in (*WORDS, "README.html", "profile.json"))
    export = find(token_of(link))
    assert timedelta(hours=71) < link.expires_at - timezone.now() < timedelta(hours=73)
    assert (export.size, export.user_id, export.made_by_id) == (link.size, person.pk, officer)
    archive = downloaded(token_of(link))
    assert archive.testzip() is None
    assert person.email.encode() in archive.read("profile.json")
    assert list(folder.iterdir()) == []
    for ask in (find, begin_download):
        with pytest.raises(LinkOver, match="This link does not work"):
            ask(token_of(link))
    assert [entry[0] for entry in audited()] == ["export", "download_export", "delete_export"]


def test_link__the_token_is_nowhere_in_the_database(shelf: Shelf, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token = token_of(make_export_link(full_life().pk))
    export = KeptExport.objects.get()
    assert bytes(export.token_sha256 or b"") == digest_of(token)
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT count(*) FROM "{table}" AS one WHERE one::text LIKE %s', [f"%{token[:20]}%"])
            assert cursor.fetchone() == (0,), table
    downloaded(token)
    assert token not in caplog.text
    assert token.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("token", ["", "x", "../../etc/passwd", "A" * 42, "A" * 43, "A" * 44, "é" * 43, "A" * 10_000])
def test_link__that_never_was__is_refused(token: str) -> None:
    with pytest.raises(LinkOver):
        find(token)


def test_link__expired__is_refused_and_removed(shelf: Shelf, folder: Path) -> None:
    link = make_export_link(UserFactory.create().pk)
    change(link.export_id, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LinkOver):
        begin_download(token_of(link))
    assert len(list(folder.iterdir())) == 1
    result = process()
    assert (result.exports_deleted, result.exports_waiting) == (1, "")
    assert list(folder.iterdir()) == []
    assert KeptExport.objects.get().deleted_at is not None
    assert process().exports_deleted == 0


def test_link__damaged_file__ends_with_an_error(shelf: Shelf, folder: Path) -> None:
    token = token_of(make_export_link(UserFactory.create().pk))
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Exception, match="was changed, or its end is missing"):
        downloaded(token)


def test_link__file_is_gone__is_over(shelf: Shelf, folder: Path) -> None:
    token = token_of(make_export_link(UserFactory.create().pk))
    next(folder.iterdir()).unlink()
    with pytest.raises(LinkOver):
        begin_download(token)


def test_link__folder_unavailable__is_not_used_up(shelf: Shelf, folder: Path) -> None:
    token = token_of(make_export_link(UserFactory.create().pk))
    folder.rename(folder.with_name("away"))
    with pytest.raises(StoreUnavailable, match=r"^The folder of the exports, '.+', cannot be used \(Not a directory\)"):
        begin_download(token)
    change(KeptExport.objects.get().pk, downloaded_at=timezone.now())
    assert "cannot be used" in process().exports_waiting
    change(KeptExport.objects.get().pk, downloaded_at=None)
    folder.with_name("away").rename(folder)
    assert downloaded(token).testzip() is None


def test_download__a_file_that_cannot_be_deleted__is_left_to_the_worker(
    shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = token_of(make_export_link(UserFactory.create().pk))

    def refuse(_export: object) -> None:
        raise StoreUnavailable("read-only")

    with monkeypatch.context() as patched:
        patched.setattr(links, "mark_deleted", refuse)
        assert downloaded(token).testzip() is None
    assert "process_requests deletes it" in caplog.text
    assert len(list(folder.iterdir())) == 1
    with pytest.raises(LinkOver):
        begin_download(token)
    assert process().exports_deleted == 1
    assert list(folder.iterdir()) == []


def test_download__while_the_worker_deletes_the_file__is_recorded_once(shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the commit of the download and the deletion of its file, the worker finds the row, or an erasure deletes it."""
    for elsewhere in (remove_finished_exports, lambda: KeptExport.objects.all().delete()):
        token = token_of(make_export_link(UserFactory.create().pk))

        def delete(export: KeptExport, elsewhere: object = elsewhere) -> None:
            assert callable(elsewhere)
            elsewhere()
            mark_deleted(export)

        monkeypatch.setattr(links, "mark_deleted", delete)
        assert downloaded(token).testzip() is None
    assert [entry[0] for entry in audited()] == ["export", "download_export", "delete_export", "export", "download_export"]


DOWNLOAD = """
import sys
import django
django.setup()
from privacy.kept_exports.links import LinkOver, begin_download
print("ready", flush=True)
sys.stdin.readline()
try:
    print(sum(map(len, begin_download(sys.argv[1]).chunks)))
except LinkOver:
    print("over")
"""


def test_download__by_two_processes_at_once__works_in_one(shelf: Shelf, folder: Path) -> None:
    link = make_export_link(full_life().pk)
    processes = [start_python(environment(), "-c", DOWNLOAD, token_of(link), stdin=subprocess.PIPE) for _ in range(2)]
    try:
        for one in processes:
            assert one.stdout is not None and one.stdout.readline() == "ready\n"
        answers = []
        for one in processes:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        answers = [one.communicate(timeout=60)[0] for one in processes]
    finally:
        for one in processes:
            one.kill()
            one.wait()
    assert sorted(answers) == sorted([f"{link.size}\n", "over\n"])
    assert list(folder.iterdir()) == []


# --- Limits -----------------------------------------------------------------------------------------------------------------------


def test_limit__of_one_person(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_PER_DAY = 2
    person = UserFactory.create()
    links_made = [make_export_link(person.pk, actor_id=uuid4()) for _ in range(2)]
    for ask in (make_export_link, preview_export_link):
        with pytest.raises(TooManyExports, match=r"had 2 exports in 24 hours: no export was made\. Wait, or raise EXPORTS_PER_DAY\.$"):
            ask(person.pk, actor_id=uuid4())
    make_export_link(UserFactory.create().pk, actor_id=uuid4())
    change(links_made[0].export_id, created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert make_export_link(person.pk, actor_id=uuid4())


def test_limit__of_one_operator(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_PER_OPERATOR = 1
    officer = uuid4()
    make_export_link(UserFactory.create().pk, actor_id=officer)
    with pytest.raises(TooManyExports, match=r"^You made 1 exports in 24 hours: no export was made"):
        make_export_link(UserFactory.create().pk, actor_id=officer)
    make_export_link(UserFactory.create().pk, actor_id=None)
    with pytest.raises(TooManyExports):
        make_export_link(UserFactory.create().pk, actor_id=None)


def test_limit__an_export_that_failed_does_not_count(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_PER_DAY = 1
    person = UserFactory.create()
    shelf.reachable = False
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            make_export_link(person.pk)
    assert (list(folder.iterdir()), KeptExport.objects.count()) == ([], 0)
    shelf.reachable = True
    assert make_export_link(person.pk)


def test_limit__an_export_whose_process_was_killed_does_not_count(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_PER_DAY = settings.EXPORTS_PER_OPERATOR = 1
    person = full_life()
    assert run_killed("make", 1, person.pk).returncode == -9
    assert KeptExport.objects.filter(size__isnull=True).count() == 1

    def is_allowed() -> bool:
        with suppress(TooManyExports):
            preview_export_link(person.pk)
            return True
        return False

    wait_until(is_allowed, "The end of the killed process's session")
    assert make_export_link(person.pk)
    with pytest.raises(TooManyExports):
        make_export_link(person.pk)


def test_limit__an_export_that_is_being_made_counts(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_PER_DAY = 1
    person = full_life()
    refused: list[BaseException] = []

    def ask_meanwhile() -> None:
        with pytest.raises(TooManyExports) as raised:
            in_thread(lambda: preview_export_link(person.pk)).result()
        refused.append(raised.value)

    def write_and_ask(*arguments: Any) -> None:
        write_archive(*arguments)
        ask_meanwhile()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("privacy.actions.export_link.write_archive", write_and_ask)
        make_export_link(person.pk)
    assert len(refused) == 1


def test_make__fails_after_the_export_was_recorded__is_recorded_too(shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of the export is committed before the file gets its name and the link its row."""

    def full_disk(_writer: EncryptedWriter) -> None:
        raise OSError(28, "No space left on device")

    person = UserFactory.create()
    monkeypatch.setattr(EncryptedWriter, "finish", full_disk)
    with pytest.raises(UserFacingError, match=r"cannot be written: No space left on device\. Make room"):
        make_export_link(person.pk, actor_id=uuid4())
    assert [(action, outcome) for action, _, _, outcome in audited()] == [("export", "done"), ("export", "failed")]
    assert (list(folder.iterdir()), KeptExport.objects.count()) == ([], 0)


def test_make__without_a_folder(shelf: Shelf, folder: Path, settings: Settings) -> None:
    settings.EXPORTS_DIR = ""
    with pytest.raises(UserFacingError, match=r"^EXPORTS_DIR is not set: nothing was changed"):
        make_export_link(UserFactory.create().pk)
    assert KeptExport.objects.count() == 0
    settings.PRIVACY_FILES_CREATED, settings.PRIVACY_FILES_DIR = True, str(folder)
    settings.EXPORTS_DIR = str(folder / "new")
    make_export_link(UserFactory.create().pk)
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o700


def test_make__for_a_request(shelf: Shelf, folder: Path) -> None:
    person = UserFactory.create()
    request = steps.record("access", user_id=person.pk, actor_id=uuid4())  # type: ignore[arg-type]
    link = make_export_link(person.pk, request_id=request.pk)
    assert KeptExport.objects.get(pk=link.export_id).request_id == request.pk
    with pytest.raises(UserFacingError, match=r"has no request .+: no export was made"):
        make_export_link(UserFactory.create().pk, request_id=request.pk)


# --- Removal ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", [erase, anonymize])
def test_removal_of_the_user__removes_the_exports(shelf: Shelf, folder: Path, remove: object) -> None:
    person, other = full_life(), UserFactory.create()
    token, kept = token_of(make_export_link(person.pk)), make_export_link(other.pk)
    make_row(user_id=person.pk)
    assert callable(remove)
    remove(person.pk)
    assert [export.user_id for export in KeptExport.objects.all()] == [other.pk]
    assert [path.name for path in folder.iterdir()] == [f"{kept.export_id}.export"]
    with pytest.raises(LinkOver):
        begin_download(token)


@pytest.mark.parametrize("remove", [erase, anonymize])
def test_removal_of_the_user__folder_unavailable__changes_nothing(shelf: Shelf, folder: Path, remove: object) -> None:
    person = full_life()
    make_export_link(person.pk)
    folder.rename(folder.with_name("away"))
    assert callable(remove)
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        remove(person.pk)
    person.refresh_from_db()
    assert person.email in WORDS
    folder.with_name("away").rename(folder)
    remove(person.pk)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("remove", [erase, anonymize])
def test_removal_of_the_user__while_the_export_is_made__leaves_no_export(
    shelf: Shelf, folder: Path, remove: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = full_life()

    def finish(writer: EncryptedWriter) -> None:
        assert callable(remove)
        remove(person.pk)
        make_row(user_id=person.pk)  # one that began later
        original(writer)

    original = EncryptedWriter.finish
    monkeypatch.setattr(EncryptedWriter, "finish", finish)
    with pytest.raises(UserFacingError, match="was erased or anonymized meanwhile: no export was made"):
        make_export_link(person.pk)
    assert list(folder.iterdir()) == []


def test_make__waits_for_an_erasure_that_is_not_committed(shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export is registered and written before the erasure ends, so only the lock on the user's row can refuse it."""
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:

        def erase_elsewhere(writer: EncryptedWriter) -> None:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM users WHERE id = %s FOR UPDATE", [person.pk])
            cursor.execute("DELETE FROM users WHERE id = %s", [person.pk])
            threading.Timer(0.6, other.connection.execute, ["COMMIT"]).start()
            original(writer)

        original = EncryptedWriter.finish
        monkeypatch.setattr(EncryptedWriter, "finish", erase_elsewhere)
        before = time.monotonic()
        with pytest.raises(UserFacingError, match="was erased or anonymized meanwhile"):
            make_export_link(person.pk)
        assert time.monotonic() - before > 0.5
    assert list(folder.iterdir()) == []


KILL = """
import sys
import django
django.setup()
import os, signal
from uuid import UUID
from privacy.registry import registry
registry._stores = {}
registry._owners.pop("vector_store")
from tests.support.killing import kill_at_call
from privacy.actions import export_link
from privacy.kept_exports import folder, removal, links
STEPS = {
    "make": [(export_link, "_begin"), (export_link, "write_archive"), (export_link, "_complete"), (export_link, "ExportLink")],
    "download": [(links, "record"), (links, "mark_deleted"), (removal, "delete_file"), (removal, "record"), (links, "decrypted")],
    "erase": [(removal, "delete_file")],
}
what, nth, argument = sys.argv[1:]
kill_at_call(STEPS[what], int(nth))
if what == "make":
    print(export_link.make_export_link(UUID(argument)).path, flush=True)
elif what == "download":
    print(sum(map(len, links.begin_download(argument).chunks)), flush=True)
else:
    removal.remove_exports_of(UUID(argument))
print("done", flush=True)
"""


def run_killed(what: str, nth: int, argument: object) -> subprocess.CompletedProcess[str]:
    return run_program(environment(), "-c", KILL, what, nth, argument)


@pytest.mark.at_length(every=2)
@pytest.mark.parametrize("nth", range(5))
def test_make__killed__leaves_nothing_that_can_be_read(shelf: Shelf, folder: Path, nth: int) -> None:
    person = full_life()
    ran = run_killed("make", nth, person.pk)
    assert (ran.returncode == -9) == (nth < 4), ran.stderr
    assert all(word.encode() not in path.read_bytes() for path in folder.iterdir() for word in (*WORDS, "profile.json"))
    KeptExport.objects.update(created_at=timezone.now() - timedelta(hours=25))
    KeptExport.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now() - timedelta(hours=1))
    process()
    assert list(folder.iterdir()) == []
    assert not KeptExport.objects.filter(deleted_at__isnull=True).exists()


@pytest.mark.at_length(every=2)
@pytest.mark.parametrize("nth", range(6))
def test_download__killed__the_link_works_once_at_most(shelf: Shelf, folder: Path, nth: int) -> None:
    token = token_of(make_export_link(full_life().pk))
    ran = run_killed("download", nth, token)
    assert (ran.returncode == -9) == (nth < 5), ran.stderr
    if nth == 0:  # before the commit: the link was not used up
        assert downloaded(token).testzip() is None
    else:
        with pytest.raises(LinkOver):
            begin_download(token)
    process()
    assert list(folder.iterdir()) == []


def test_remove_exports_of__killed__is_completed(shelf: Shelf, folder: Path) -> None:
    person = full_life()
    for _ in range(2):
        make_export_link(person.pk)
    assert run_killed("erase", 1, person.pk).returncode == -9
    assert (len(list(folder.iterdir())), KeptExport.objects.count()) == (1, 2)
    assert remove_exports_of(person.pk) == 1
    assert (list(folder.iterdir()), KeptExport.objects.count()) == ([], 0)


def test_files_without_a_row__are_removed(shelf: Shelf, folder: Path) -> None:
    """For example after a restore of the database."""
    link = make_export_link(UserFactory.create().pk)
    (folder / f"{uuid4()}.export").write_bytes(b"old")
    (folder / "notes.txt").write_text("mine")
    (folder / "x.export").write_text("mine")
    assert remove_files_without_row() == 1
    assert {path.name for path in folder.iterdir()} == {f"{link.export_id}.export", "notes.txt", "x.export"}


def test_remove_finished__skips_an_export_that_is_locked(shelf: Shelf, folder: Path) -> None:
    link = make_export_link(UserFactory.create().pk)
    change(link.export_id, expires_at=timezone.now() - timedelta(seconds=1))
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1 FROM exports FOR UPDATE")
        assert remove_finished_exports() == 0
        cursor.execute("ROLLBACK")
    assert remove_finished_exports() == 1


def test_delete_file__a_store_that_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_row()
    path = folders.path_of(row.pk)
    path.touch()
    monkeypatch.setattr(Path, "unlink", lambda _path: None)
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        folders.delete_file(row.pk)


def test_rows__are_deleted_after_30_days(shelf: Shelf, folder: Path) -> None:
    (owner,) = (owner for owner in registry.owners if owner.section == "exports")
    old, kept = (make_row(created_at=timezone.now() - timedelta(days=31)) for _ in range(2))
    change(old.pk, deleted_at=timezone.now())
    assert (owner.count_expired(), owner.delete_expired(), owner.count_expired()) == (1, 1, 0)
    assert list(KeptExport.objects.all()) == [kept]
    assert AuditEntry.objects.count() == 0
    assert new_token() != new_token()
