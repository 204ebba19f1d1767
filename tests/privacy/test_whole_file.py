import fcntl
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from findme.console.errors import NotDone
from privacy.whole_file import whole_file

CHILD = """
import sys, zipfile
from pathlib import Path
from privacy.whole_file import whole_file

with whole_file(Path(sys.argv[1]), force=False) as file:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("profile.json", "personal " * 100_000)
        file.flush()
        print("half", flush=True)
        sys.stdin.readline()
print("whole", flush=True)
"""


@contextmanager
def writing_child(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, in the middle of writing PATH; a line on its stdin lets it go on."""
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
    with whole_file(path, force=force) as file:
        file.write(content)


def write_half(path: Path, *, force: bool = False) -> None:
    with whole_file(path, force=force) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_whole_file__appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with whole_file(path, force=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_whole_file__is_its_owners_alone_from_the_start(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "export.zip"
    with umask(mask), whole_file(path, force=False) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_whole_file__an_existing_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"mine")
    with pytest.raises(NotDone) as refused:
        write(path)
    assert str(refused.value) == f"'{path}' exists, and is not replaced without --force. Name another file, or add --force."
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__one_that_appears_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with pytest.raises(NotDone, match="exists, and is not replaced without --force"), whole_file(path, force=False):
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__a_dangling_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotDone, match="exists, and is not replaced"):
        write(path)
    assert not (tmp_path / "elsewhere").exists()


def test_whole_file__force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write(path, force=True)
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__force_replaces_nothing_but_a_file(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.symlink_to("/dev/null")
    with pytest.raises(NotDone) as refused:
        write(path, force=True)
    assert str(refused.value) == f"'{path}' is not an ordinary file, and is not replaced, by --force neither: name another one."
    assert path.is_symlink()


@pytest.mark.parametrize("force", [False, True])
def test_whole_file__a_folder_is_refused(tmp_path: Path, force: bool) -> None:
    with pytest.raises(NotDone) as refused:
        write(tmp_path, force=force)
    assert str(refused.value) == f"'{tmp_path}' is a folder: name a file in it."


def test_whole_file__a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotDone) as refused:
        write(tmp_path / "no" / "export.zip")
    assert str(refused.value) == f"There is no folder '{tmp_path / 'no'}': make it first, or name a file elsewhere."


def test_whole_file__an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_whole_file__an_error_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, force=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__a_full_disk_is_one_line(tmp_path: Path) -> None:
    limited = (
        "import resource, sys\nfrom pathlib import Path\nfrom findme.console.errors import NotDone\nfrom privacy.whole_file import whole_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with whole_file(Path(sys.argv[1]), force=False) as file:\n"
        "        file.write(bytes(1_000_000))\n"
        "except NotDone as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "export.zip"
    ran = subprocess.run([sys.executable, "-c", limited, str(path)], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == f"'{path}' cannot be written: File too large. Make room, or name a file elsewhere.\n"
    assert list(tmp_path.iterdir()) == []


def test_whole_file__without_hard_links_only_force_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted", "aside")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "export.zip"
    with pytest.raises(NotDone) as refused:
        write(path)
    assert str(refused.value) == (
        f"'{path}': without hard links in this file system, a new file cannot be kept from replacing another one"
        " (Operation not permitted). Name a file elsewhere, or add --force."
    )
    assert list(tmp_path.iterdir()) == []
    write(path, force=True)
    assert path.read_bytes() == b"whole"


def test_whole_file__killed_in_the_middle_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with writing_child(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
    (left,) = tmp_path.iterdir()
    assert left.name == ".export.zip.part"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert left.stat().st_size > 0
    assert not zipfile.is_zipfile(left)


def test_whole_file__what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with writing_child(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
    write(path)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__two_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with writing_child(path) as child:
        with pytest.raises(NotDone) as refused:
            write(path)
        assert str(refused.value) == f"Another process is writing '{path}': wait for it, or name another file."
        output, _ = child.communicate("go on\n", timeout=60)
    assert output == "whole\n"
    assert zipfile.is_zipfile(path)
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__a_link_planted_aside_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".export.zip.part").symlink_to(victim)
    with pytest.raises(OSError, match=r"\.export\.zip\.part"):
        write(tmp_path / "export.zip")
    assert victim.read_bytes() == b"precious"


def test_whole_file__one_taken_for_a_dead_ones_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process deletes ASIDE after it was made and before it was locked."""
    path, real_flock = tmp_path / "export.zip", fcntl.flock
    deleted: list[bool] = []

    def flock(descriptor: int, operation: int) -> None:
        if not deleted:
            deleted.append(True)
            (tmp_path / ".export.zip.part").unlink()
        real_flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    write(path)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__many_at_once(tmp_path: Path) -> None:
    """Each writes all of it or is refused, and the file is one of theirs, whole."""
    path = tmp_path / "export.zip"
    contents = [bytes([number]) * 10_000 for number in range(8)]
    refusals: set[str] = set()

    def try_to_write(content: bytes) -> bytes | None:
        try:
            write(path, content, force=True)
        except NotDone as refused:
            refusals.add(str(refused))
            return None
        return content

    with ThreadPoolExecutor(4) as pool:
        written = [content for content in pool.map(try_to_write, contents * 50) if content]
    assert path.read_bytes() in written
    assert refusals <= {f"Another process is writing '{path}': wait for it, or name another file."}
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file__what_lies_aside_is_gone_before_it_can_be_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside, real_open = tmp_path / ".export.zip.part", os.open
    aside.write_bytes(b"left by a dead process")

    def open_and_lose(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == aside and not flags & os.O_CREAT and aside.exists():
            aside.unlink()
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", open_and_lose)
    write(tmp_path / "export.zip")
    assert (tmp_path / "export.zip").read_bytes() == b"whole"


def test_whole_file__what_the_system_refuses_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long") as refused:
        write(tmp_path / ("x" * 253))
    assert refused.value.filename == str(tmp_path / f".{'x' * 253}.part")
