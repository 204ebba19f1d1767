"""The journal of a restore: durable, private, locked, and refused in one line if it cannot be used."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from backups.restoring.journal import FORMAT, Journal, open_journal
from findme.core.errors import UserFacingError
from tests.support.processes import python

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
LIVE: dict[str, Any] = {
    "backup": "20261201T015042Z-f1d8d4be",
    "system_identifier": "7543210987654321098",
    "live_name": "findme",
    "live_oid": 5,
}


def refusal(path: Path) -> str:
    with pytest.raises(UserFacingError) as raised, open_journal(path):
        pytest.fail("opened")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_journal__is_read_by_the_next_run_until_it_ends(journal_path: Path) -> None:
    with open_journal(journal_path) as journal:
        assert journal.entry is None
        journal.begin(**LIVE)
        journal.note(scratch_name="findme_scratch_1", scratch_oid=6)
        noted = journal.note(phase="switching", alias="profiles")
    with open_journal(journal_path) as again:
        assert again.entry == noted
        assert (again.current().live_oid, again.current().phase, again.current().alias) == (5, "switching", "profiles")
        with pytest.raises(ValueError, match="still has a restore"):
            again.begin(**LIVE)
        again.end()
    with open_journal(journal_path) as third:
        assert third.entry is None
        with pytest.raises(ValueError, match="No restore has begun"):
            third.current()
    assert [path.name for path in journal_path.parent.iterdir()] == ["restore.json.lock"]


def test_journal__only_this_account_reads_it_whatever_the_umask_is(journal_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_journal(journal_path) as journal:
            journal.begin(**LIVE)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in journal_path.parent.iterdir()} == {0o600}


def test_journal__each_change_is_durable_before_it_has_the_name(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the system calls: content, its fsync, the name, the fsync of the folder."""
    calls: list[str] = []

    def noted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            calls.append(f"{name} folder" if is_folder else name)
            return original(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (Path, "replace")):
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    journal.begin(**LIVE)
    assert calls == ["fsync", "replace", "fsync folder"]
    journal.end()
    assert calls[3:] == ["fsync folder"]


def test_journal__a_killed_write_leaves_the_old_one(journal_path: Path) -> None:
    with open_journal(journal_path) as journal:
        journal.begin(**LIVE)
    journal_path.with_name("restore.json.new").write_text('{"format": 1')
    with open_journal(journal_path) as again:
        assert again.current().phase == "preparing"
        again.note(phase="switching")
        again.end()
    assert [path.name for path in journal_path.parent.iterdir()] == ["restore.json.lock"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"format": 1}', b'{"format": true}', b"[" * 100_000, b'{"format": "1"}'],
    ids=["empty", "cut off", "a list", "no text", "fields missing", "no number", "deep", "a text"],
)
def test_journal__damaged__is_refused(content: bytes, journal_path: Path) -> None:
    journal_path.write_bytes(content)
    assert refusal(journal_path) == (
        f"The journal {str(journal_path)!r} is damaged: nothing was changed."
        " docs/backups.md#the-switch says how to check the databases before you delete the file."
    )
    assert journal_path.read_bytes() == content


@pytest.mark.parametrize(
    "change", [{"live_name": ""}, {"live_oid": -1}, {"phase": "done"}, {"folders": "all"}, {"more": 1}, {"begun_at": "x"}]
)
def test_journal__a_field_of_another_kind__is_refused(change: dict[str, Any], journal_path: Path) -> None:
    with open_journal(journal_path) as journal:
        journal.begin(**LIVE)
    journal_path.write_text(json.dumps(json.loads(journal_path.read_text()) | change))
    assert "is damaged" in refusal(journal_path)


def test_journal__of_a_later_release__is_refused(journal_path: Path) -> None:
    journal_path.write_text(json.dumps({"format": FORMAT + 1, "news": 1}))
    assert refusal(journal_path) == (
        f"A later release of FindMe has written the journal {str(journal_path)!r}: nothing was changed. Finish its restore with that release."
    )


def test_journal__a_second_restore__is_refused_at_once(journal_path: Path) -> None:
    script = f"""
from pathlib import Path
from django.conf import settings
settings.configure(EMBEDDED_POSTGRES_DIR="/nonexistent/pg", QDRANT_PATH="/nonexistent/qdrant")
from backups.restoring.journal import open_journal
try:
    with open_journal(Path({str(journal_path)!r})):
        print("opened")
except Exception as error:
    print(error)
"""
    lock = f"{journal_path}.lock"
    with open_journal(journal_path):
        code, out, err = python("-c", script)
    assert (code, err) == (0, "")
    assert out == f"Another restore runs on this machine and holds {lock!r}: nothing was changed. Wait until it ends.\n"
    with open_journal(journal_path):
        pass


def test_journal__missing_folder__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "restore.json"
    assert refusal(path) == (
        f"BACKUP_JOURNAL is {str(path)!r}, and there is no folder {str(path.parent)!r}: nothing was changed. Create it: mkdir -m 700 {path.parent}"
    )


def test_journal__folder_that_others_write__is_refused(journal_path: Path) -> None:
    journal_path.parent.chmod(0o777)
    assert refusal(journal_path) == (
        f"BACKUP_JOURNAL is {str(journal_path)!r}, in {str(journal_path.parent)!r}, which is writable by other accounts (mode 0777): nothing was changed."
        " Only you or root may own and write it: correct that, or name another file."
    )


@as_root
def test_journal__folder_or_file_of_another_account__is_refused(journal_path: Path) -> None:
    journal_path.touch()
    os.chown(journal_path, 65534, 65534)
    assert "belongs to" in refusal(journal_path)
    journal_path.unlink()
    os.chown(journal_path.parent, 65534, 65534)
    assert "belongs to" in refusal(journal_path)


@pytest.mark.parametrize("name", ["restore.json", "restore.json.lock"])
def test_journal__link__is_refused(name: str, journal_path: Path) -> None:
    (journal_path.parent / "target").touch()
    journal_path.with_name(name).symlink_to(journal_path.parent / "target")
    assert "is a link" in refusal(journal_path)


def test_journal__a_folder_is_no_file(journal_path: Path) -> None:
    journal_path.mkdir()
    assert "which is a folder" in refusal(journal_path)


@pytest.mark.parametrize("store", ["EMBEDDED_POSTGRES_DIR", "QDRANT_PATH"])
def test_journal__in_the_folder_of_a_store__is_refused(store: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "store").mkdir()
    setattr(settings, store, str(tmp_path / "store"))
    (tmp_path / "link").symlink_to(tmp_path / "store")
    assert "in the folder of a store: nothing was changed" in refusal(tmp_path / "link" / "restore.json")


def test_journal__full_disk__is_one_line_and_the_old_entry_stays(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    before = journal.begin(**LIVE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserFacingError) as raised:
            journal.note(phase="switching")
    assert str(raised.value) == (
        f"The journal {str(journal.path)!r} cannot be written: No space left on device. Correct this, or name another file in BACKUP_JOURNAL."
    )
    assert journal.entry == before == Journal(journal.path).entry


def test_open_journal__default__is_the_setting(tmp_path: Path, settings: Settings) -> None:
    settings.BACKUP_JOURNAL = str(tmp_path / "named.json")
    with open_journal() as journal:
        assert journal.path == tmp_path / "named.json"


def test_temporary_folder__is_removed_and_forgotten(journal: Journal, tmp_path: Path) -> None:
    journal.begin(**LIVE)
    with journal.temporary_folder(tmp_path) as folder:
        (folder / "a").write_text("decrypted")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert Journal(journal.path).current().folders == (str(folder),)
    assert not folder.exists()
    assert journal.current().folders == ()
    with journal.temporary_folder(tmp_path) as folder:
        journal.end()
    assert not folder.exists()


def test_remove_folders__removes_temporary_folders_only(journal: Journal, tmp_path: Path) -> None:
    journal.begin(**LIVE)
    left, other, missing = (tmp_path / name for name in ("findme-restore-0123456789abcdef", "mine", "findme-restore-fedcba9876543210"))
    for folder in (left, other):
        folder.mkdir()
        (folder / "file").touch()
    link = tmp_path / "findme-restore-aaaaaaaaaaaaaaaa"
    link.symlink_to(other)
    journal.note(folders=tuple(map(str, (left, other, missing, link))))
    journal.remove_folders()
    assert not left.exists()
    assert (other / "file").exists()
    assert link.is_symlink()
