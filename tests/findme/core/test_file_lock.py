"""File locks: one process at a time, even if a process is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from findme.core.errors import UserFacingError
from findme.core.file_lock import lock_file

HOLD = """
import sys
from pathlib import Path
from findme.core.errors import UserFacingError
from findme.core.file_lock import lock_file
with lock_file(Path(sys.argv[1]), 0, lambda: UserFacingError("busy")):
    print("held", flush=True)
    sys.stdin.read()
"""


def busy() -> UserFacingError:
    return UserFacingError("Another process holds it.")


def is_locked(path: Path) -> bool:
    try:
        with lock_file(path, 0, busy):
            return False
    except UserFacingError:
        return True


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock in another process during the block."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_lock_file__creates_a_file_of_this_account(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lock_file(tmp_path / "lock", 0, busy):
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_lock_file__yields_a_descriptor_of_the_file_and_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("12")
    with lock_file(tmp_path / "lock", 0, busy) as descriptor:
        assert os.pread(descriptor, 10, 0) == b"12"
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_lock_file__held_by_another_process__raises_the_error_at_the_deadline(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock"):
        for seconds in (0, 0.1):
            with pytest.raises(UserFacingError, match=r"^Another process holds it\.$"), lock_file(tmp_path / "lock", seconds, busy):
                raise AssertionError("it is not free")
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_lock_file__held_by_another_process__waits_until_that_is_killed(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock") as process:
        timer = threading.Timer(0.2, process.send_signal, [signal.SIGKILL])
        timer.start()
        with lock_file(tmp_path / "lock", 60, busy):
            timer.join()


def test_lock_file__a_child_that_inherits_the_descriptor_holds_the_lock(tmp_path: Path) -> None:
    with lock_file(tmp_path / "lock", 0, busy) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    assert is_locked(tmp_path / "lock")
    child.communicate(timeout=60)
    assert not is_locked(tmp_path / "lock")


def test_lock_file__after_an_error__is_free(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_file(tmp_path / "lock", 0, busy):
        raise ZeroDivisionError
    assert not is_locked(tmp_path / "lock")


def test_lock_file__two_descriptors_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with lock_file(tmp_path / "lock", 0, busy), pytest.raises(UserFacingError), lock_file(tmp_path / "lock", 0, busy):
        pass


def test_lock_file__does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), lock_file(tmp_path / "lock", 0, busy):
        pass
    assert not (tmp_path / "elsewhere").exists()
