"""The systemd units in docs/how-to/deploy.md: systemd accepts them, and their command lines work."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from findme.environment import BASE_DIR
from tests.qdrant import free_port
from tests.support.commands import parser_of
from tests.support.database import Database
from tests.support.processes import PRODUCTION
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from tests.support.web import serving
from vectorstore.schema.initialize import initialize

OPERATIONS = (BASE_DIR / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
UNITS = {
    name: "\n".join(line[4:] for line in body.rstrip("\n").splitlines()) + "\n"
    for name, body in re.findall(r"`/etc/systemd/system/([\w.-]+)`:\n\n((?:    .*\n|\n)+)", OPERATIONS)
}
FOLDER = "/srv/findme"
PYTHON = f"{FOLDER}/.venv/bin/python"
SYSTEMD = shutil.which("systemd-analyze")


def values(unit: str, name: str) -> list[str]:
    """Return every value of the setting, in order."""
    return re.findall(rf"^{name}=(.*)$", UNITS[unit], re.MULTILINE)


def command_of(unit: str, name: str = "ExecStart", **changes: str) -> list[str]:
    """Return the only command line of the unit, for this Python and with these changes."""
    [line] = values(unit, name)
    for old, new in changes.items():
        assert old in line
        line = line.replace(old, new)
    return [sys.executable if word == PYTHON else word for word in shlex.split(line)]


def environment(database: Database, folder: Path) -> dict[str, str]:
    """Return the production settings of the ``.env`` in the unit's folder."""
    kept = {name: value for name, value in untraced().items() if name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    return (
        kept
        | PRODUCTION
        | {"DATABASE_URL": database.url(), "QDRANT_URL": "", "QDRANT_PATH": str(folder / "qdrant"), "PYTHONWARNINGS": "ignore"}
    )


def test_units__are_found() -> None:
    assert sorted(UNITS) == ["findme-daily.service", "findme-daily.timer", "findme-sync.service", "findme-web.service"]
    [enabled] = re.findall(r"`systemctl enable --now ([^`]+)`", OPERATIONS)
    assert [name for name in UNITS if "[Install]" in UNITS[name]] == sorted(enabled.split(), key=list(UNITS).index)


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_service__in_the_documented_folder(name: str) -> None:
    """It does not run as root, and every Python command is a valid command of ``manage.py``."""
    read = ConfigParser(strict=False, interpolation=None)
    read.read_string(UNITS[name])
    assert (read["Service"]["User"], read["Service"]["WorkingDirectory"]) == ("findme", FOLDER)
    for line in values(name, "ExecStart"):
        program, *words = shlex.split(line)
        assert program in (PYTHON, f"{FOLDER}/.venv/bin/gunicorn")
        if program == PYTHON:
            script, command, *arguments = words
            assert script == "manage.py"
            parser_of(command).parse_args(arguments)


@pytest.mark.skipif(SYSTEMD is None, reason="no program systemd-analyze")
def test_units__systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """The programs of the units are in a folder that exists here."""
    folder = tmp_path / "findme"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for program in ("python", "gunicorn"):
        (folder / ".venv" / "bin" / program).symlink_to("/bin/true")
    paths = [tmp_path / name for name in UNITS]
    for path in paths:
        path.write_text(UNITS[path.name].replace(FOLDER, str(folder)))
    assert verified(paths) == (0, "")
    paths[0].write_text(paths[0].read_text().replace("WorkingDirectory", "WorkingFolder"))
    assert "WorkingFolder" in verified(paths)[1]


def verified(paths: list[Path]) -> tuple[int, str]:
    assert SYSTEMD is not None
    ran = subprocess.run([SYSTEMD, "verify", *paths], capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.at_length
@pytest.mark.long
def test_daily__each_command_succeeds(migrated: Database, memory_path: Path) -> None:
    """systemd skips the commands after one that fails. The commands that delete personal data come first."""
    lines = values("findme-daily.service", "ExecStart")
    assert [line.split()[-1] for line in lines] == ["apply_retention", "clearsessions", "refresh_ages", "process_requests"]
    for line in lines:
        command = [sys.executable, *shlex.split(line)[1:]]
        ran = subprocess.run(
            command,
            cwd=BASE_DIR,
            env=environment(migrated, memory_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), line


@pytest.mark.at_length
@pytest.mark.long
def test_sync__writes_and_ends_in_time(embedded_qdrant: Path, transactional_db: None) -> None:
    from django.db import connection

    from tests.factories import ProfileEmbeddingFactory
    from vectorstore.models import QueueEntry

    initialize()
    ProfileEmbeddingFactory.create()
    assert QueueEntry.objects.exists()
    here = environment(Database(str(connection.settings_dict["NAME"])), embedded_qdrant) | {"QDRANT_PATH": str(embedded_qdrant)}
    with subprocess.Popen(command_of("findme-sync.service"), cwd=BASE_DIR, env=here, stdout=subprocess.DEVNULL) as process:
        try:
            wait_while_running(process, lambda: not QueueEntry.objects.exists())
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()
    [seconds] = values("findme-sync.service", "TimeoutStopSec")
    assert int(seconds) > 10  # the longest time of the worker; tests of the worker measure it


def wait_while_running(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    wait_until(lambda: process.poll() is not None or condition(), poll_seconds=0.1)
    assert process.poll() is None


def is_ready(port: str, retries: str = "0") -> bool:
    """Run the command that systemd waits for."""
    command = command_of(
        "findme-web.service", "ExecStartPost", **{"127.0.0.1:8000": f"127.0.0.1:{port}", "--retry 60": f"--retry {retries}"}
    )
    assert command[0] == "/usr/bin/curl"
    if not Path(command[0]).exists():
        pytest.skip("no program curl")
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=DEADLINE_SECONDS).returncode == 0


@pytest.mark.at_length
@pytest.mark.long
def test_web__counts_as_started_when_it_is_ready(embedded_qdrant: Path, transactional_db: None) -> None:
    """It tries again after a 503, as without a vector store, and if nothing listens at the port."""
    assert not is_ready(str(free_port()))
    with serving(DEBUG="off", SECURE_SSL_REDIRECT="on", ALLOWED_HOSTS="findme.example") as web:
        assert not is_ready(str(web.port))
        initialize()
        assert is_ready(str(web.port), retries="60")
    assert " --retry-connrefused " in values("findme-web.service", "ExecStartPost")[0]


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn does not come with FindMe")
def test_web__by_gunicorn(embedded_qdrant: Path, transactional_db: None) -> None:
    """If a setting is missing, it ends with one line and exit code 3. Otherwise it becomes ready, and stops at SIGTERM."""
    from django.db import connection

    initialize()
    port = str(free_port())
    _program, *arguments = command_of("findme-web.service", **{"127.0.0.1:8000": f"127.0.0.1:{port}"})
    command = [sys.executable, "-m", "gunicorn", *arguments]
    here = environment(Database(str(connection.settings_dict["NAME"])), embedded_qdrant) | {"QDRANT_PATH": str(embedded_qdrant)}
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=here | {"SECRET_KEY": ""}, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
    )
    assert ran.returncode == 3 and ran.stderr.startswith("Not set: SECRET_KEY (") and ran.stderr.count("\n") == 1
    with subprocess.Popen(command, cwd=BASE_DIR, env=here, stderr=subprocess.DEVNULL) as process:
        try:
            wait_while_running(process, lambda: is_ready(port))
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()
