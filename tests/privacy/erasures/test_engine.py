"""An erasure follows its plan, records each step, and ends complete, once, whatever happens between."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.erase import erase
from privacy.actions.erase_files import FilesRemain
from privacy.actions.erasures import seal
from privacy.actions.followed import ErasureUnfinished
from privacy.actions.pending import process_pending
from privacy.actions.plan import plan_erasure
from privacy.file_stores.folder import Folder
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.models import Erasure, ErasureStep, PendingAction
from tests.factories import UserFactory
from tests.privacy.films import PREFIX, film_of
from tests.privacy.life import full_life, working_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live
from tests.support.commands import environment
from tests.support.processes import run_program
from tests.support.seeds import kill_seeds
from tests.support.sessions import another_connection
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)


def steps(erasure: Erasure | None = None) -> dict[str, tuple[bool, int, str]]:
    rows = ErasureStep.objects.filter(erasure=erasure or Erasure.objects.get())
    return {row.step: (row.done_at is not None, row.count, row.waits_for) for row in rows}


def test_erasure__leaves_its_record(shelf: Shelf, films: Path) -> None:
    person = full_life()
    working_life(person)
    shelf.ids.add(person.pk)
    film = film_of(person, films)
    erase(person.pk)
    erasure = Erasure.objects.get()
    (entry,) = entries_of(person.pk)
    assert (erasure.state, erasure.user_id, erasure.request) == ("erased", person.pk, None)
    assert (erasure.ledger_position, bytes(erasure.plan_digest)) == (entry.position, entry.plan_digest)
    assert erasure.plan["deleted.videos"] == 2
    done = {step: count for step, (is_done, count, _) in steps().items() if is_done}
    assert done == {"files": 1, "log_ins": 0, "sessions": 1, "admin_log": 1, "rows": 9, "point": 1}
    assert not film.exists()


def test_erasure__fails_before_anything_is_erased__is_stopped(shelf: Shelf, settings: Settings, tmp_path: Path) -> None:
    person = full_life()
    settings.ERASURE_LEDGER_URL, before = str(tmp_path / "not mounted"), settings.ERASURE_LEDGER_URL
    with pytest.raises(StoreUnavailable, match="not mounted"):
        erase(person.pk)
    settings.ERASURE_LEDGER_URL = before
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [person.pk])
        with pytest.raises(UserFacingError, match="Another transaction holds the rows"):
            erase(person.pk)
        cursor.execute("ROLLBACK")
    assert set(Erasure.objects.values_list("state", "stop_reason")) == {("stopped", "failed")}
    erase(person.pk)
    assert Erasure.objects.filter(state="erased").count() == 1


def test_erasure__store_fails__waits_and_is_completed(shelf: Shelf) -> None:
    person = full_life()
    shelf.after_removal = shelf.fail
    with pytest.raises(StoreUnavailable):
        erase(person.pk)
    assert (Erasure.objects.get().state, steps()["point"]) == ("sealed", (False, 0, "store"))
    shelf.reachable, shelf.after_removal = True, lambda: None
    assert process_pending().completed == 1
    assert (Erasure.objects.get().state, steps()["point"][0]) == ("erased", True)


def test_erasure__file_store_unavailable__nothing_has_changed(shelf: Shelf, films: Path) -> None:
    person = full_life()
    films.rename(films.with_name("unmounted"))
    with pytest.raises(StoreUnavailable, match="The file store"):
        erase(person.pk)
    assert User.objects.filter(pk=person.pk).exists()
    assert (entries_of(person.pk), PendingAction.objects.count()) == ([], 0)


def test_erasure__file_is_not_deleted__stays_pending(shelf: Shelf, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = full_life()
    film = film_of(person, films)

    def refuse(*_: object) -> bool:
        raise StoreUnavailable("The disk is read-only.")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "delete", refuse)
        with pytest.raises(FilesRemain, match=r"^The disk is read-only\. PostgreSQL is unchanged, and 0 of the user's files are deleted\."):
            erase(person.pk)
    assert steps()["files"] == (False, 0, "file_store")
    assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ERASE]
    assert process_pending().completed == 1
    assert (film.exists(), Erasure.objects.get().state) == (False, "erased")


def test_erasure__fails_after_its_files__is_not_undone(shelf: Shelf, films: Path) -> None:
    person = full_life()
    film = film_of(person, films)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [person.pk])
        with pytest.raises(ErasureUnfinished, match="Files of the user are deleted already, so the action continues"):
            erase(person.pk)
        cursor.execute("ROLLBACK")
    assert (film.exists(), steps()["rows"]) == (False, (False, 0, "lock"))
    assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ERASE]
    assert process_pending().completed == 1
    assert steps()["files"] == (True, 1, "")


def test_erasure__film_added_meanwhile__is_deleted_too(shelf: Shelf, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = full_life()
    film = film_of(person, films)
    late = films / "late.mp4"

    def add_film() -> None:
        late.write_bytes(b"late")
        Video.objects.filter(user=person, storage_url=PREFIX + film.name).update(storage_url=f"{PREFIX}late.mp4")

    original = Folder.delete

    def delete(folder: Folder, path: str) -> bool:
        deleted = original(folder, path)
        if path == film.name:
            add_film()
        return deleted

    monkeypatch.setattr(Folder, "delete", delete)
    erase(person.pk)
    assert (film.exists(), late.exists()) == (False, False)


def test_user_deleted_by_sql__leaves_a_record_too(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    User.objects.filter(pk=person.pk)._raw_delete("default")
    process_pending()
    erasure = Erasure.objects.get()
    assert (erasure.state, erasure.user_id) == ("erased", person.pk)
    assert steps()["point"] == (True, 1, "")


def test_plan_left_by_a_killed_command__is_continued_or_replaced(shelf: Shelf, settings: Settings) -> None:
    first, second = UserFactory.create(), UserFactory.create()
    for person in (first, second):
        seal(person.pk, plan_erasure(person.pk))
    erase(first.pk)
    settings.BACKUP_RETENTION_DAYS = 30
    erase(second.pk)
    assert list(Erasure.objects.filter(user_id=first.pk).values_list("state", flat=True)) == ["erased"]
    assert set(Erasure.objects.filter(user_id=second.pk).values_list("state", "stop_reason")) == {
        ("stopped", "plan_changed"),
        ("erased", ""),
    }


KILLED = """
import sys
import django
django.setup()
from django.conf import settings
from uuid import UUID
from django.db.backends.utils import CursorWrapper
from privacy.actions.erase import erase
from privacy.file_stores.folder import Folder
from privacy.ledger import outside
from tests.support.killing import kill_at_call

nth, user_id, prefix, films = int(sys.argv[1]), UUID(sys.argv[2]), sys.argv[3], sys.argv[4]
settings.FILE_STORES = {prefix: films}
kill_at_call([(CursorWrapper, "execute"), (outside.FolderLedger, "create"), (Folder, "delete"), (Folder, "size")], nth)
erase(user_id)
"""


@pytest.mark.parametrize("seed", kill_seeds(3))
def test_erasure__killed_over_and_over__ends_complete_once(seed: int, shelf: Shelf, films: Path, live: str) -> None:
    chance = random.Random(seed)  # a fixed seed, no secret
    person = full_life()
    film = film_of(person, films)
    for _ in range(3):
        nth = str(chance.randrange(110))
        killed = run_program(environment(), "-c", KILLED, nth, person.pk, PREFIX, films)
        assert killed.returncode in (-9, 0, 1), killed.stderr
        if not film.exists() or not User.objects.filter(pk=person.pk).exists():
            assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ERASE], "destroyed without an entry"
    while process_pending().completed:
        pass
    if not entries_of(person.pk):
        erase(person.pk)
    assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ERASE]
    assert (PendingAction.objects.count(), film.exists(), User.objects.filter(pk=person.pk).exists()) == (0, False, False)
    assert list(Erasure.objects.exclude(state="stopped").values_list("state", flat=True)) == ["erased"]
