import errno
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from findme.core.errors import UserFacingError
from findme.core.files import atomic_write, growing_file, unnamed_file

CHILD = """
import sys, zipfile
from pathlib import Path
from findme.core.files import atomic_write

try:
    with atomic_write(Path(sys.argv[1]), force=False) as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("profile.json", "personal " * 100_000)
            file.flush()
            print("half", flush=True)
            sys.stdin.readline()
    print("whole", flush=True)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


@contextmanager
def writing_child(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that is writing ``path``. It continues after a line on its stdin."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "half\n"
        yield child
    finally:
        child.kill()
        child.communicate()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write(path: Path, content: bytes = b"whole", *, force: bool = False) -> None:
    with atomic_write(path, force=force) as file:
        file.write(content)


def write_half(path: Path, *, force: bool = False) -> None:
    with atomic_write(path, force=force) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_atomic_write__appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with atomic_write(path, force=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_atomic_write__only_the_owner_can_read_it_from_the_start(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "export.zip"
    with umask(mask), atomic_write(path, force=False) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_atomic_write__existing_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"mine")
    with pytest.raises(UserFacingError) as refused:
        write(path)
    assert str(refused.value) == f"'{path}' exists, and is not replaced without --force. Name another file, or add --force."
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__file_that_appears_meanwhile_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with pytest.raises(UserFacingError, match="exists, and is not replaced without --force"), atomic_write(path, force=False):
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__dangling_link_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserFacingError, match="exists, and is not replaced"):
        write(path)
    assert not (tmp_path / "elsewhere").exists()


def test_atomic_write__force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write(path, force=True)
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__force_replaces_nothing_but_a_file(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.symlink_to("/dev/null")
    with pytest.raises(UserFacingError) as refused:
        write(path, force=True)
    assert str(refused.value) == f"'{path}' is not an ordinary file and is never replaced, not even with --force. Name another file."
    assert path.is_symlink()


@pytest.mark.parametrize("force", [False, True])
def test_atomic_write__folder_is_rejected(tmp_path: Path, force: bool) -> None:
    with pytest.raises(UserFacingError) as refused:
        write(tmp_path, force=force)
    assert str(refused.value) == f"'{tmp_path}' is a folder. Name a file in it."


def test_atomic_write__missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError) as refused:
        write(tmp_path / "no" / "export.zip")
    assert str(refused.value) == f"There is no folder '{tmp_path / 'no'}'. Create it first, or name a file elsewhere."


def test_atomic_write__error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_atomic_write__error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, force=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__a_full_disk_is_one_line(tmp_path: Path) -> None:
    limited = (
        "import resource, sys\nfrom pathlib import Path\nfrom findme.core.errors import UserFacingError\nfrom findme.core.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with atomic_write(Path(sys.argv[1]), force=False) as file:\n"
        "        file.write(bytes(1_000_000))\n"
        "except UserFacingError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "export.zip"
    ran = subprocess.run([sys.executable, "-c", limited, str(path)], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == f"'{path}' cannot be written: File too large. Make room, or name a file elsewhere.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["unnamed", "no unnamed files", "no /proc"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run on normal Linux, on a file system without O_TMPFILE (NFS, FAT), and on a system without /proc.

    Without O_TMPFILE, the file is copied to its name.
    """
    if request.param == "no unnamed files":
        monkeypatch.setattr(os, "O_TMPFILE", NOT_SUPPORTED)
    if request.param == "no /proc":
        monkeypatch.setattr(os, "link", no_links)
    return str(request.param)


NOT_SUPPORTED = os.O_DIRECTORY | os.O_WRONLY  # EISDIR, as from a kernel without O_TMPFILE


def no_links(*_args: object, **_kwargs: object) -> None:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/self/fd/9")


@pytest.mark.parametrize("force", [False, True])
def test_atomic_write__on_every_file_system(force: bool, tmp_path: Path, file_system: str) -> None:
    path = tmp_path / "export.zip"
    if force:
        path.write_bytes(b"old")
    with umask(0o777), atomic_write(path, force=force) as file:
        file.write(b"whole")
        assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"] * force
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__on_every_file_system_file_that_appears_is_rejected(tmp_path: Path, file_system: str) -> None:
    path = tmp_path / "export.zip"
    with pytest.raises(UserFacingError, match="exists, and is not replaced without --force"), atomic_write(path, force=False):
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "folder"])
def test_atomic_write__force_replaces_no_other_kind_that_appears(kind: str, tmp_path: Path, file_system: str) -> None:
    path, victim = tmp_path / "export.zip", tmp_path / "victim"
    if kind != "dangling link":
        victim.write_bytes(b"precious")
    plant: dict[str, Callable[[], None]] = {"fifo": lambda: os.mkfifo(path), "folder": path.mkdir}
    with pytest.raises(UserFacingError, match="is not an ordinary file"), atomic_write(path, force=True):
        plant.get(kind, lambda: path.symlink_to(victim))()
    assert not victim.exists() if kind == "dangling link" else victim.read_bytes() == b"precious"


def test_atomic_write__force_replaces_the_name_and_not_the_content(tmp_path: Path) -> None:
    """A program that has the old file open, or a hard link to it, does not see the new content."""
    path, other_name = tmp_path / "export.zip", tmp_path / "other"
    path.write_bytes(b"old")
    other_name.hardlink_to(path)
    with path.open("rb") as reader:
        write(path, force=True)
        assert (reader.read(), other_name.read_bytes(), path.read_bytes()) == (b"old", b"old", b"whole")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_atomic_write__force_replaces_no_file_of_another_account(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, mine = tmp_path / "export.zip", os.geteuid()
    path.write_bytes(b"theirs")
    calls = itertools.count()
    monkeypatch.setattr(os, "geteuid", lambda: mine + (when == "before" or next(calls) > 0))
    with pytest.raises(UserFacingError) as refused:
        write(path, force=True)
    assert str(refused.value) == f"'{path}' belongs to another account and is never replaced, not even with --force. Name another file."
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
def test_atomic_write__root_replaces_no_file_of_another_account(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.touch(mode=0o666)
    os.chown(path, 65534, 65534)
    with pytest.raises(UserFacingError, match="belongs to another account"):
        write(path, force=True)
    assert path.stat().st_size == 0


def test_atomic_write__a_full_disk_while_it_is_copied_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    path = tmp_path / "export.zip"
    with pytest.raises(UserFacingError) as refused:
        write(path)
    assert str(refused.value) == f"'{path}' cannot be written: No space left on device. Make room, or name a file elsewhere."
    assert list(tmp_path.iterdir()) == []


def test_atomic_write__name_that_others_keep_taking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_args: object, **_kwargs: object) -> None:
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", taken)
    path = tmp_path / "export.zip"
    with pytest.raises(UserFacingError) as refused:
        write(path, force=True)
    assert str(refused.value) == f"Other processes keep creating '{path}'. Wait until they end, or name another file."


KILLED_AT_EACH_STEP = """
import json, os, signal, sys, zipfile
from pathlib import Path
from findme.core.files import atomic_write

def export(path, force):
    with atomic_write(path, force=force) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("profile.json", "personal " * 10_000)
        archive.writestr("videos.json", "personal " * 10_000)

def kill_at(step):
    left = step
    def before_each_call(frame, event, called):
        nonlocal left
        if event in ("c_call", "c_return"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(before_each_call)

folder, force, without = Path(sys.argv[1]), sys.argv[2] == "force", sys.argv[3]
if without == "no unnamed files":
    os.O_TMPFILE = os.O_DIRECTORY | os.O_WRONLY
found, step, killed = [], 0, True
while killed:
    step += 1
    here = folder / str(step)
    here.mkdir()
    path = here / "export.zip"
    if force:
        path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        kill_at(step)
        export(path, force)
        sys.setprofile(None)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    found.append({entry.name: [entry.stat().st_size, entry.stat().st_mode & 0o777, zipfile.is_zipfile(entry)] for entry in here.iterdir()})
print(json.dumps(found))
"""
"""Kill an export before and after each call of a C function of Python, and so between any two system calls."""


@pytest.mark.at_length(every=6)
@pytest.mark.parametrize("force", ["no force", "force"])
@pytest.mark.parametrize("without", ["nothing", "no unnamed files"])
def test_atomic_write__killed_at_each_step_leaves_no_zip(without: str, force: str, tmp_path: Path) -> None:
    """Every file that opens as a zip is complete."""
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path), force, without]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    *killed, done = json.loads(ran.stdout)
    size = done["export.zip"][0]
    assert done == {"export.zip": [size, 0o600, True]}
    assert len(killed) > 100
    sizes = set()
    for left in killed:
        found, mode, is_zip = left.pop("export.zip", [0, 0o600, False])
        sizes.add(found)
        assert not is_zip or found == size
        assert mode == 0o600 or (force == "force" and found == len("old"))
        if without == "nothing":
            assert found in ((0, size, len("old")) if force == "force" else (0, size))
            assert left == {}
        assert all(one[0] == 0 for one in left.values())
    assert {0, size} <= sizes  # a kill hit the moment without a file, and another one the end


def test_atomic_write__killed_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with writing_child(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
    assert list(tmp_path.iterdir()) == []
    write(path)
    assert path.read_bytes() == b"whole"


def test_atomic_write__two_at_once_do_not_mix(tmp_path: Path) -> None:
    """Each process has its own file. The first to end names it, and the other gets an error."""
    path = tmp_path / "export.zip"
    with writing_child(path) as child:
        write(path)
        output, _ = child.communicate("continue\n", timeout=60)
    assert output.startswith(f"UserFacingError: '{path}' exists, and is not replaced without --force.")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__many_at_once(tmp_path: Path) -> None:
    """Each thread writes all its data, and the file is complete and of one thread."""
    path = tmp_path / "export.zip"
    contents = [bytes([number]) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: write(path, content, force=True), contents * 50))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write__system_error_is_reported_with_the_file_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long") as refused:
        write(tmp_path / ("x" * 256))
    assert refused.value.filename == str(tmp_path / ("x" * 256))


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_unnamed_file__only_the_owner_can_read_it_and_it_has_no_name(mask: int, tmp_path: Path, file_system: str) -> None:
    with umask(mask), unnamed_file(tmp_path) as file:
        file.write(b"personal")
        file.seek(0)
        assert file.read() == b"personal"
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert list(tmp_path.iterdir()) == []


def test_growing_file__exists_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with umask(0o777), growing_file(path, force=False) as file:
        file.write(b"one\n")
        assert path.read_bytes() == b"one\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserFacingError, match="exists"), growing_file(path, force=False):
        pass
    with growing_file(path, force=True):
        assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path]
