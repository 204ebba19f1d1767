"""Backups in a folder: its rights, full and missing disks, and killed processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backups.destinations.destination import Destination
from backups.destinations.folder import FolderDestination
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.environment import BASE_DIR
from tests.support.seeds import kill_seeds
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS

MIB = 1024 * 1024
KILLED = """
import os, pathlib, sys
from backups.destinations.folder import FolderDestination
from tests.support.killing import kill_at_call

if sys.argv[4] == "hidden":
    del os.O_TMPFILE
destination = FolderDestination(sys.argv[1])
kill_at_call([(os, "open"), (os, "fchmod"), (os, "fsync"), (os, "link"), (os, "close"), (pathlib.Path, "mkdir"), (pathlib.Path, "unlink")], int(sys.argv[3]))
with destination.write("b1", "dump.zst") as sink:
    for _ in range(int(sys.argv[2])):
        sink.write(bytes(1000))
"""
CALLS = 12
"""Calls of a write in the process above, at least."""


def write(destination: Destination, name: str, file: str, content: bytes = b"content") -> None:
    with destination.write(name, file) as sink:
        sink.write(content)


def refused(destination: Destination) -> str:
    """Return the error of a write, which leaves no file."""
    with pytest.raises(UserFacingError) as raised:
        write(destination, "b1", "dump.zst")
    assert not isinstance(raised.value, StoreUnavailable)
    return str(raised.value)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["unnamed", "hidden"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "hidden":
        request.getfixturevalue("no_unnamed_files")
    return str(request.param)


def test_write__only_this_account_can_read(tmp_path: Path, way: str) -> None:
    before = os.umask(0o777)
    try:
        write(FolderDestination(str(tmp_path)), "b1", "dump.zst")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "b1", tmp_path / "b1" / "dump.zst")]
    assert modes == [0o700, 0o600]


def test_write__an_existing_file__is_not_changed(tmp_path: Path, way: str) -> None:
    destination = FolderDestination(str(tmp_path))
    write(destination, "b1", "dump.zst", b"first")
    assert refused(destination) == (f"The backup 'b1' in '{tmp_path}' already has a file 'dump.zst': it was not changed. Use a new name.")

    def write_another_meanwhile() -> None:
        with destination.write("b1", "other") as sink:
            sink.write(b"mine")
            (tmp_path / "b1" / "other").write_bytes(b"theirs")

    with pytest.raises(UserFacingError, match="already has a file 'other'"):
        write_another_meanwhile()
    assert (tmp_path / "b1" / "other").read_bytes() == b"theirs"
    assert left(tmp_path) == ["dump.zst", "other"]


def test_write__without_hard_links(tmp_path: Path, no_unnamed_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT and on some network file systems."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write(FolderDestination(str(tmp_path)), "b1", "dump.zst")
    assert left(tmp_path) == ["dump.zst"]
    assert FolderDestination(str(tmp_path)).files("b1") == {"dump.zst": 7}


@pytest.mark.long
@pytest.mark.parametrize("seed", kill_seeds(3))
def test_write__killed__leaves_nothing_that_looks_like_a_file(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    way, call = chosen.choice(["unnamed", "hidden"]), chosen.randrange(CALLS)
    command = [sys.executable, "-c", KILLED, str(tmp_path), "3", str(call), way]
    ran = subprocess.run(command, cwd=BASE_DIR, env=untraced(), capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert ran.returncode == -signal.SIGKILL, (way, call, ran.stderr)
    destination = FolderDestination(str(tmp_path))
    assert destination.files("b1") in ({}, {"dump.zst": 3000})
    destination.remove_unfinished(timedelta(0))
    assert left(tmp_path) in ([], ["dump.zst"])
    destination.delete("b1")
    assert list(tmp_path.iterdir()) == []


def test_remove_unfinished__only_old_hidden_files_of_backups(tmp_path: Path) -> None:
    destination = FolderDestination(str(tmp_path))
    write(destination, "b1", "dump.zst")
    old, new = (tmp_path / "b1" / f".findme-{number:016x}.part" for number in range(2))
    other = tmp_path / "b1" / ".nfs0001"
    for path in (old, new, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    assert destination.remove_unfinished(timedelta(days=1)) == 1
    assert left(tmp_path) == [new.name, ".nfs0001", "dump.zst"]
    with pytest.raises(UserFacingError, match="its folder has entries that are no files of a backup"):
        destination.delete("b1")
    assert left(tmp_path) == [".nfs0001"]


def test_folder__missing__is_not_empty(tmp_path: Path) -> None:
    """A disk that is not mounted must not look like a destination without backups."""
    destination = FolderDestination(str(tmp_path / "gone"))
    asked: list[Callable[[], object]] = [
        destination.names,
        destination.free_bytes,
        lambda: destination.files("b1"),
        lambda: destination.remove_unfinished(timedelta(0)),
    ]
    for ask in asked:
        with pytest.raises(UserFacingError, match=r"^There is no folder '.*/gone', or .* create it with mkdir --mode 700\.$"):
            ask()
    assert "There is no folder" in refused(destination)
    assert list(tmp_path.iterdir()) == []


def test_folder__gone_while_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    def write_and_lose() -> None:
        with FolderDestination(str(folder)).write("b1", "dump.zst") as sink:
            sink.write(b"content")
            shutil.rmtree(folder)

    with pytest.raises(UserFacingError, match="There is no folder"):
        write_and_lose()


def test_folder__a_link__is_refused(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "link").symlink_to("backups")
    assert refused(FolderDestination(str(tmp_path / "link"))) == (
        f"'{tmp_path}/link' is a link: nothing was done. Name the folder that it leads to."
    )
    (tmp_path / "backups" / "b1").symlink_to(tmp_path)
    destination = FolderDestination(str(tmp_path / "backups"))
    assert "is no folder of this account" in refused(destination)
    assert destination.names() == []
    with pytest.raises(UserFacingError, match="is no folder of this account"):
        destination.delete("b1")


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_folder__a_file_of_another_kind__is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "b1").mkdir()
    path = tmp_path / "b1" / "dump.zst"
    make: dict[str, Callable[[], None]] = {
        "link": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }
    make[kind]()
    destination = FolderDestination(str(tmp_path))
    assert destination.files("b1") == {}
    with (
        pytest.raises(UserFacingError, match=r"'dump\.zst' of the backup 'b1' in .* is no ordinary file"),
        destination.read("b1", "dump.zst"),
    ):
        pass


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_folder__writable_by_other_accounts__is_refused(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    folder.chmod(mode)
    assert f"which is writable by other accounts (mode {mode:04o}): nothing was done" in refused(FolderDestination(str(folder)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
def test_folder__of_another_account__is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    (folder / "b1").mkdir(parents=True)
    os.chown(folder / "b1", 65534, 65534)
    assert "is no folder of this account" in refused(FolderDestination(str(folder)))
    os.chown(folder, 65534, 65534)
    assert "which belongs to" in refused(FolderDestination(str(folder)))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="findme-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no right to create a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def fill(destination: Destination) -> None:
    with destination.write("b1", "dump.zst") as sink:
        for _ in range(3):
            sink.write(bytes(MIB))


def test_folder__full__is_one_line(small_disk: Path, way: str) -> None:
    destination = FolderDestination(str(small_disk))
    free = destination.free_bytes()
    assert free is not None
    assert 0 < free <= 2 * MIB
    with pytest.raises(UserFacingError) as raised:
        fill(destination)
    assert str(raised.value) == (
        f"'{small_disk}' has no room left (No space left on device). Delete old backups with prune_backups, or name another destination."
    )
    assert left(small_disk) == []
    write(destination, "b1", "dump.zst")


def test_folder__read_only__is_one_line(small_disk: Path) -> None:
    destination = FolderDestination(str(small_disk))
    write(destination, "b2", "dump.zst")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert refused(destination) == (
        f"'{small_disk}' cannot be used (Read-only file system). Check its owner, its mode and how its disk is mounted."
    )
    with pytest.raises(UserFacingError, match="Read-only file system"):
        destination.delete("b2")
    assert destination.files("b2") == {"dump.zst": 7}


def test_folder__a_limit_of_file_sizes__is_one_line(tmp_path: Path) -> None:
    limited = (
        "import resource, sys\nfrom backups.destinations.folder import FolderDestination\nfrom findme.core.errors import UserFacingError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with FolderDestination(sys.argv[1]).write('b1', 'dump.zst') as sink:\n"
        "        while True:\n"
        "            sink.write(bytes(1000))\n"
        "except UserFacingError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", limited, str(tmp_path)]
    ran = subprocess.run(command, cwd=BASE_DIR, env=untraced(), capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS)
    assert ran.stdout.startswith(f"'{tmp_path}' has no room left (File too large).")
    assert left(tmp_path) == []
