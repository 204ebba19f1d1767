"""``make`` on a bare machine: the virtual environment is made once, by whoever comes first, and anew when the lock has changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from findme.console.free_port import free_port
from findme.console.install import install, is_current
from findme.environment import BASE_DIR

MAKE = shutil.which("make") or "make"
INSTALL = "import sys; from pathlib import Path; from findme.console.install import install; print(install(Path(sys.argv[1])))"


def installed_together(folder: Path) -> list[str]:
    """What two processes say that install at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALL, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=BASE_DIR
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    return sorted(out.strip() for out, _ in ended)


@pytest.mark.long
def test_install__two_at_once_and_once_more(tmp_path: Path) -> None:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "requirements.lock").write_text("# no package: nothing is downloaded\n")
    assert installed_together(folder) == ["False", "True"]
    assert is_current(folder) and not install(folder)
    done = subprocess.run([str(folder / ".venv" / "bin" / "python"), "-m", "pip", "--version"], check=True, capture_output=True, text=True)
    assert str(folder) in done.stdout
    (folder / "requirements.lock").write_text("# another one\n")
    assert not is_current(folder)


def test_install__that_failed_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.lock").write_text("a-package==1.0\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    begun: list[list[str]] = []

    def failing(command: list[str], *, check: bool) -> None:
        begun.append(command)
        raise subprocess.CalledProcessError(7, command)

    monkeypatch.setattr(subprocess, "run", failing)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            install(tmp_path)
    assert begun == [[sys.executable, "-m", "venv", "--clear", str(tmp_path / ".venv")]] * 2


def test_free_port__the_wanted_one_or_another() -> None:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
        end.listen()
        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def make(*arguments: str, path: str, folder: Path = BASE_DIR) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"PATH": path}
    return subprocess.run([MAKE, *arguments], check=False, capture_output=True, text=True, cwd=folder, env=environment)


def test_make__help_names_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (BASE_DIR / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    shown = make(path=os.environ["PATH"])
    assert shown.returncode == 0
    assert re.findall(r"^  ([a-z]+) +[A-Z0-9r]", shown.stdout, re.MULTILINE) == phony[1].split()


def test_make__without_a_python_that_is_recent_enough(tmp_path: Path) -> None:
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    for name in ("python3", "python3.11"):
        python = tmp_path / name
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    done = make("install", path=str(tmp_path), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "FindMe needs Python 3.11 or later with venv and pip, and there is none on the PATH (Debian, Ubuntu: apt-get install python3 python3-venv)."
    )


PRETENDING = """#!/bin/sh
case "$*" in
  *free_port*) echo $(($3 + $(cat taken))) ;;
  *runserver*) echo "$*"; exit $(cat code) ;;
  *migrate*) exit 0 ;;
esac
"""


@pytest.mark.parametrize(
    ("taken", "code", "status", "said"),
    [
        (0, 0, 0, "manage.py runserver 127.0.0.1:8000\n"),
        (0, 1, 2, "manage.py runserver 127.0.0.1:8000\n"),
        (1, 1, 2, "".join(f"manage.py runserver 127.0.0.1:{port}\n" for port in (8001, 8002, 8003))),
    ],
)
def test_make__serve_goes_on_to_another_port_where_somebody_was_faster(
    tmp_path: Path, taken: int, code: int, status: int, said: str
) -> None:
    """TAKEN is how much higher the free port is each time. Where the wanted one is free still, it was not the port, and nothing is tried again."""
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PRETENDING)
    python.chmod(0o755)
    (tmp_path / "taken").write_text(str(taken))
    (tmp_path / "code").write_text(str(code))
    done = make("serve", path=os.environ["PATH"], folder=tmp_path)
    assert (done.returncode, done.stdout) == (status, said)
    assert done.stderr.count("Another program was faster: on port ") == (2 if taken else 0)
