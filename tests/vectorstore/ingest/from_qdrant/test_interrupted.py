"""An import that was interrupted: the next run continues, with the same counts and the same rejects file."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import UserFactory
from tests.support.commands import run_python
from tests.support.threads import held_in_thread
from tests.vectorstore.ingest.from_qdrant.guide_points import bits, create, guide, import_all, point, received, stored, vector, write
from vectorstore.ingest.from_qdrant import run
from vectorstore.ingest.from_qdrant.cursor import Cursor
from vectorstore.ingest.from_qdrant.results import Imported
from vectorstore.ingest.from_qdrant.run import ImportInterrupted
from vectorstore.models import ImportDigest, VectorImport
from vectorstore.qdrant import scroll

pytestmark = pytest.mark.django_db(transaction=True)

KILLED = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from tests.support.killing import kill_at_call
from vectorstore.ingest import rejects, staging
from vectorstore.ingest.from_qdrant import cursor, run
from vectorstore.ingest.from_qdrant.source import address_from, checked_source

run.PAGE_SIZE = run.EMBEDDED_PAGE_SIZE = 2
name, file, nth = sys.argv[1:]
steps = [(staging, "insert"), (staging, "copy_into"), (rejects.RejectsFile, "write"), (cursor.Cursor, "save"), (cursor.Cursor, "finish")]
kill_at_call(steps, int(nth))
imported = run.import_embeddings(checked_source(address_from(None, None, None), name, None), rejects=Path(file))
print(json.dumps(asdict(imported)))
"""
CALLS = 20
"""Calls of these functions in a complete run."""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAGE_SIZE", 2)
    monkeypatch.setattr(run, "EMBEDDED_PAGE_SIZE", 2)


@pytest.fixture
def users(embedded_qdrant: Path) -> list[User]:
    """Six users whose points are in the collection, with a bad field, a point of zeros, and a point with a numeric id."""
    found = sorted(UserFactory.create_batch(6), key=lambda user: user.pk)
    bad = [point(found[2], 2, location="Berlin"), models.PointStruct(id=str(found[3].pk), vector=[0.0] * 512, payload={})]
    create([*(point(found[index], index) for index in (0, 1, 4, 5)), *bad, models.PointStruct(id=7, vector=vector(7), payload={})])
    return found


def comparable(counts: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of a complete pass, without what differs between runs."""
    return {name: value for name, value in counts.items() if name not in ("continued_after", "dry_run", "first_findings")}


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length(every=CALLS)
@pytest.mark.parametrize("nth", range(CALLS))
def test_import__killed_at_each_step__continues(users: list[User], tmp_path: Path, nth: int) -> None:
    file = tmp_path / "rejects"
    expected = comparable(asdict(import_all(dry_run=True, rejects=tmp_path / "planned")))
    assert run_python(KILLED, guide(), file, nth)[0] == -signal.SIGKILL
    finished, printed, _ = run_python(KILLED, guide(), file, -1)
    assert finished == 0
    assert comparable(json.loads(printed)) == expected
    assert file.read_bytes() == (tmp_path / "planned").read_bytes()
    assert len(stored()) == ImportDigest.objects.count() == expected["imported"] == 5
    assert import_all().unchanged == 5


@pytest.mark.no_cover
@pytest.mark.at_length
def test_calls__are_those_of_a_complete_run(users: list[User], tmp_path: Path) -> None:
    """The last step that can be killed is the end."""
    assert run_python(KILLED, guide(), tmp_path / "rejects", CALLS - 1)[0] == -signal.SIGKILL
    assert VectorImport.objects.get().finished_at is None
    assert run_python(KILLED, guide(), tmp_path / "rejects", CALLS)[0] == 0
    assert VectorImport.objects.get().finished_at is not None


@pytest.fixture
def interrupted(users: list[User], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An import that stopped after its second page. Return its rejects file."""
    pages = scroll.pages_at
    with monkeypatch.context() as patch:

        def two_pages(*arguments: Any) -> Any:
            found = pages(*arguments)
            yield from (next(found), next(found))
            raise StoreUnavailable("Nothing answers.")

        patch.setattr(run, "pages_at", two_pages)
        with pytest.raises(ImportInterrupted) as raised:
            import_all(rejects=tmp_path / "rejects", model="one")
    assert str(raised.value) == (
        "Nothing answers. 4 points were read before that. Repair this, then run the command again: it continues there."
    )
    assert (raised.value.imported.read, raised.value.imported.users_without_point) == (4, None)
    return tmp_path / "rejects"


def test_interrupted__dry_run__does_not_promise_to_continue() -> None:
    found = Imported(read=4, dry_run=True)
    assert str(ImportInterrupted(StoreUnavailable("Nothing answers."), found)).endswith(
        " run the command again: it begins at the first point."
    )


@pytest.mark.parametrize("given", ["the same file", "no file"])
def test_import__same_options__continues(users: list[User], interrupted: Path, given: str) -> None:
    imported = import_all(rejects=interrupted if given == "the same file" else None, model="one")
    assert imported.continued_after == str(users[2].pk)
    assert (imported.read, imported.imported, imported.rejected, imported.users_without_point) == (7, 5, 2, 0)


@pytest.mark.parametrize("change", ["model", "policy", "file", "file is gone", "file is shorter", "file is edited", "file is another one"])
def test_import__other_options_or_rejects__begins_again(users: list[User], interrupted: Path, change: str) -> None:
    """A pass over all points is always right. It writes only differences."""
    options: dict[str, Any] = {"rejects": interrupted, "model": "one"}
    match change:
        case "model":
            options["model"] = "another"
        case "policy":
            options["replace"] = True
        case "file":
            options["rejects"] = interrupted.with_name("another")
        case "file is gone":
            interrupted.unlink()
        case "file is shorter":
            interrupted.write_bytes(b"")
        case "file is edited":
            interrupted.write_bytes(interrupted.read_bytes().replace(b"number 7", b"number 8", 1))
        case "file is another one":
            options["rejects"] = interrupted.with_name("renamed")
            interrupted.rename(options["rejects"])
    imported = import_all(**options)
    assert imported.continued_after is None
    assert (imported.read, imported.imported, imported.unchanged, imported.rejected) == (7, 2, 3, 2)
    assert len(options["rejects"].read_text().splitlines()) == 3


def test_import__dry_run_replaces_the_rejects__begins_again(users: list[User], interrupted: Path) -> None:
    """The file of a dry run has other lines. It must not be cut at the place where the interrupted run ended."""
    write([models.PointStruct(id=3, vector=vector(3), payload={})])
    assert import_all(rejects=interrupted, model="one", dry_run=True).rejected == 3
    planned = interrupted.read_bytes()
    imported = import_all(rejects=interrupted, model="one")
    assert (imported.continued_after, imported.read, imported.rejected) == (None, 8, 3)
    assert interrupted.read_bytes() == planned


@pytest.mark.parametrize("wrong", ["none/rejects", "another"])
def test_import__rejects_file_cannot_be_written__the_next_run_continues(users: list[User], interrupted: Path, wrong: str) -> None:
    """A mistyped name ends the run before anything is changed."""
    interrupted.with_name("another").write_text("not a rejects file")
    with pytest.raises(UserFacingError, match=r"cannot be written|is not a rejects file"):
        import_all(rejects=interrupted.parent / wrong, model="one")
    assert import_all(rejects=interrupted, model="one").continued_after == str(users[2].pk)


def test_import__rejects_file_became_a_link__is_refused(users: list[User], interrupted: Path) -> None:
    interrupted.rename(interrupted.with_name("moved"))
    interrupted.symlink_to("moved")
    with pytest.raises(UserFacingError, match="is not a rejects file of an earlier run"):
        import_all(rejects=interrupted, model="one")
    assert len(interrupted.with_name("moved").read_text().splitlines()) == 2


def test_import__after_a_finished_run__begins_again(users: list[User]) -> None:
    import_all()
    write([point(users[0], 9)])
    imported = import_all()
    assert (imported.continued_after, imported.updated) == (None, 1)
    assert bits(stored()[users[0].pk].vector) == bits(received()[str(users[0].pk)])


def test_import__last_point_was_deleted_in_qdrant__continues_after_it(users: list[User], interrupted: Path) -> None:
    from vectorstore.qdrant.connection import qdrant

    with qdrant() as client:
        client.delete(guide(), models.PointIdsList(points=[str(users[2].pk)]), wait=True)
    assert import_all(rejects=interrupted, model="one").imported == 5


def test_import__collection_is_deleted_meanwhile__is_said(users: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    """``init_qdrant`` does not help: the collection is that of another program."""
    from vectorstore.qdrant.connection import qdrant

    save = Cursor.save

    def save_and_delete(*arguments: Any) -> None:
        save(*arguments)
        with qdrant() as client:
            client.delete_collection(guide())

    monkeypatch.setattr(Cursor, "save", save_and_delete)
    with pytest.raises(ImportInterrupted) as raised:
        import_all()
    assert str(raised.value).startswith(f"The collection '{guide()}' was deleted meanwhile. 2 points were read before that. ")


def test_import__page_is_repeated__rejects_are_written_once(users: list[User], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conflict with another session repeats the transaction of a page."""
    from vectorstore.ingest import staging

    save, failures = Cursor.save, [1, 2]

    def fail_first(*arguments: Any) -> None:
        save(*arguments)
        if failures:
            failures.pop()
            raise staging._ConcurrentInsert

    monkeypatch.setattr(Cursor, "save", fail_first)
    imported = import_all(rejects=tmp_path / "rejects")
    assert (imported.read, imported.imported, imported.rejected) == (7, 5, 2)
    assert len((tmp_path / "rejects").read_text().splitlines()) == 3


def test_import__another_import_runs__is_refused(users: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOCK_SECONDS", 0.2)
    with held_in_thread(run.import_lock()):
        with pytest.raises(
            UserFacingError, match=r"^Another process imports .* \(session \d+ of PostgreSQL\): nothing was done\. Wait until it ends\.$"
        ):
            import_all()
        assert import_all(dry_run=True).imported == 5
    assert import_all().imported == 5


def test_import__stopped_early__ends_its_thread(users: list[User], monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()

    def fail(*_: Any) -> None:
        raise UserFacingError("Stopped.")

    monkeypatch.setattr(run._Run, "take", fail)
    with pytest.raises(UserFacingError):
        import_all()
    assert threading.active_count() == before
