"""The ledger outside, in a folder and in S3: objects are created once, and an unavailable store is one line."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import FolderLedger, ObjectLedger, OutsideLedger, outside_ledger
from tests.privacy.ledger.s3 import s3_bucket


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], OutsideLedger]]:
    """Yield a function that opens the same ledger again."""
    if request.param == "folder":
        yield lambda: FolderLedger(tmp_path)
    elif request.param == "memory":
        yield lambda: ObjectLedger(f"memory://{tmp_path.name}/ledger")
    else:
        with s3_bucket() as url:
            yield lambda: ObjectLedger(f"{url}/ledger")


def test_store__creates_an_object_once(store: Callable[[], OutsideLedger]) -> None:
    ledger = store()
    assert (ledger.firsts(), ledger.read(1)) == ([], None)
    assert ledger.create(1, b"first\n")
    assert not ledger.create(1, b"other\n")
    assert ledger.create(11, b"second\n")
    again = store()
    assert again.read(1) == b"first\n"
    assert again.read(2) is None
    assert again.firsts() == [1, 11]


def test_store__of_many_at_once__one_creates_the_object(store: Callable[[], OutsideLedger]) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda number=number: results.append(store().create(1, b"%d\n" % number))) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]


def test_folder__other_files_are_no_objects(tmp_path: Path) -> None:
    for name in ("0000000000000000001.jsonl~", "notes.txt", "x.jsonl"):
        (tmp_path / name).touch()
    assert FolderLedger(tmp_path).firsts() == []


def test_folder__a_missing_folder_is_not_an_empty_ledger(tmp_path: Path) -> None:
    """A disk that is not mounted must not look like a ledger without entries."""
    ledger = FolderLedger(tmp_path / "ledger")
    for ask in (ledger.firsts, lambda: ledger.read(1), lambda: ledger.create(1, b"")):
        with pytest.raises(StoreUnavailable, match=r"^The ledger at '.*/ledger' cannot be reached \(No such file or directory\)\."):
            ask()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write in every folder")
def test_folder__read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises((StoreUnavailable, UserFacingError)):
        FolderLedger(tmp_path).create(1, b"")


def test_s3__unavailable__is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_bucket() as url:
        ledger = ObjectLedger(f"{url}/ledger")
    with pytest.raises(StoreUnavailable, match=r"^The ledger at 's3://.*' cannot be reached \(.+\)\. Check ERASURE_LEDGER_URL"):
        ledger.read(1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.create(1, b""),
        lambda ledger: ledger.read(1),
        lambda ledger: ledger.firsts(),
        lambda ledger: ledger.checkpoints(),
        lambda ledger: ledger.read_checkpoint(1),
    ],
    ids=["create", "read", "firsts", "checkpoints", "read_checkpoint"],
)
def test_s3__no_such_bucket__is_no_empty_ledger(ask: Callable[[OutsideLedger], object]) -> None:
    """Otherwise a restored database would seem to lack nothing."""
    with s3_bucket(), pytest.raises(StoreUnavailable, match=r"^The ledger at 's3://another/ledger' cannot be reached"):
        ask(ObjectLedger("s3://another/ledger"))


def test_outside_ledger__by_its_setting(settings: Settings, tmp_path: Path) -> None:
    for url in (str(tmp_path), f"file://{tmp_path}"):
        settings.ERASURE_LEDGER_URL = url
        ledger = outside_ledger()
        assert isinstance(ledger, FolderLedger)
        assert ledger.folder == tmp_path
    settings.ERASURE_LEDGER_URL = "memory://ledger"
    assert isinstance(outside_ledger(), ObjectLedger)
    settings.ERASURE_LEDGER_URL = ""
    with pytest.raises(UserFacingError, match=r"^ERASURE_LEDGER_URL is not set: nothing was changed"):
        outside_ledger()
    settings.ERASURE_LEDGER_URL = "gopher://ledger"
    with pytest.raises(StoreUnavailable, match=r"^The ledger at 'gopher://ledger' cannot be reached"):
        outside_ledger()


def test_outside_ledger__default_folder_cannot_be_created__is_one_line(settings: Settings, tmp_path: Path) -> None:
    """With DEBUG, a checkout can be mounted read-only."""
    (tmp_path / "file").touch()
    settings.PRIVACY_FILES_CREATED, settings.PRIVACY_FILES_DIR = True, str(tmp_path / "file" / "privacy")
    settings.ERASURE_LEDGER_URL = str(tmp_path / "file" / "privacy" / "ledger")
    with pytest.raises(StoreUnavailable, match=r"cannot be reached \(Not a directory\)"):
        outside_ledger()
    settings.ERASURE_LEDGER_KEYS = str(tmp_path / "file" / "privacy" / "keys.json")
    with pytest.raises(UserFacingError, match=r"cannot be created \(Not a directory\): nothing was changed"):
        subject_keys()
