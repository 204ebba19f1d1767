"""``compose.yaml``: the commands, settings and health checks of its services, run without Docker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from findme.environment import BASE_DIR
from tests.compose_file import read_compose_file
from tests.qdrant import free_port, program, started_qdrant
from tests.support.database import Database
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS, wait_until

COMPOSE = read_compose_file((BASE_DIR / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
WEB = SERVICES["web"]
DOCUMENTED = set(re.findall(r"^#?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
INSTALLS = [
    "python -m venv /venv",
    "/venv/bin/pip install --quiet --no-deps --only-binary :all: --require-hashes -r requirements-production.lock",
]
"""Lines of the command that these tests skip, because they download packages."""


def expanded(text: str) -> str:
    """Return the value that Compose uses if the environment sets no variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def settings_of_web(folder: Path, **here: str) -> dict[str, str]:
    """Return the environment of the service, with the addresses of ``here`` instead of those of the other services, and a folder for the volume."""
    volume = folder / "privacy"
    volume.mkdir(exist_ok=True)
    given = {name: expanded(value).replace("/privacy", str(volume)) for name, value in WEB["environment"].items()}
    kept = {name: value for name, value in untraced().items() if name in ("PATH", "LD_LIBRARY_PATH")}
    return kept | given | here


def health_check(service: str, *changes: tuple[str, str]) -> int:
    """Run the health check of the service, and return its exit code."""
    kind, *command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD"
    command = [expanded(part) for part in command]
    for old, new in changes:
        assert any(old in part for part in command), (old, command)
        command = [part.replace(old, new) for part in command]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_SECONDS)
    return ran.returncode


def becomes(code: int, check: list[tuple[str, str]], process: subprocess.Popen[str]) -> None:
    wait_until(lambda: process.poll() is not None or health_check("web", *check) == code, "The health check", poll_seconds=0.2)
    assert process.poll() is None


@pytest.mark.parametrize("name", SERVICES)
def test_service__is_checked_and_listens_on_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["ports"] and all(port.startswith("127.0.0.1:") for port in service["ports"])
    named = {volume.partition(":")[0] for volume in service["volumes"]} - {"."}
    assert named <= set(COMPOSE["volumes"])


def test_service__versions_are_those_that_are_supported() -> None:
    [python] = re.findall(r"^python:3\.(\d+)$", WEB["image"])
    [postgresql] = re.findall(r"^postgres:(\d+)$", SERVICES["postgres"]["image"])
    [qdrant] = re.findall(r"^qdrant/qdrant:v1\.(\d+)\.\d+$", SERVICES["qdrant"]["image"])
    assert (11 <= int(python) <= 14, 15 <= int(postgresql) <= 18, 18 <= int(qdrant) <= 20) == (True, True, True)


def test_web__settings_are_real_and_lead_to_the_other_services() -> None:
    found = {name: expanded(value) for name, value in WEB["environment"].items()}
    postgres, qdrant = SERVICES["postgres"]["environment"], SERVICES["qdrant"]["environment"]
    account = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
    assert set(found) <= DOCUMENTED
    assert found["DATABASE_URL"] == f"postgresql://{account}@postgres:5432/{postgres['POSTGRES_DB']}"
    assert found["QDRANT_URL"] == "http://qdrant:6333"
    assert WEB["environment"]["QDRANT_API_KEY"] == qdrant["QDRANT__SERVICE__API_KEY"]
    assert WEB["depends_on"] == {name: {"condition": "service_healthy"} for name in ("postgres", "qdrant")}


def test_web__runs_what_is_installed_from_the_lock_file() -> None:
    """It installs like ``make install``: with dependencies, pip 23 takes releases that are not in the lock file."""
    shell, option, script = WEB["command"]
    lines = script.splitlines()
    assert (shell, option, lines[:2]) == ("bash", "-ec", INSTALLS)
    assert all(line.removeprefix("exec ").startswith("/venv/bin/python manage.py ") for line in lines[2:])
    assert WEB["working_dir"] == "/findme" and WEB["volumes"] == [".:/findme:ro", "venv:/venv", "privacy:/privacy"]


def test_web__ends_when_it_is_stopped() -> None:
    """The kernel passes a signal to process 1 of a container only if that process handles it, and neither bash nor runserver does."""
    assert WEB["init"] == "true"


@contextmanager
def running_web(port: int, folder: Path, **here: str) -> Iterator[subprocess.Popen[str]]:
    """The command of the service, without what installs, on another port; it ends with the block."""
    shell, option, script = WEB["command"]
    lines = [line for line in expanded(script).splitlines() if line not in INSTALLS]
    text = "\n".join(lines).replace("/venv/bin/python", sys.executable).replace("0.0.0.0:8000", f"127.0.0.1:{port}")
    log = folder / "web.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [shell, option, text],
            cwd=BASE_DIR,
            env=settings_of_web(folder, **here),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.at_length("embedded")
@pytest.mark.long
@pytest.mark.parametrize("store", ["embedded", pytest.param("server", marks=pytest.mark.qdrant_server)])
def test_web__becomes_healthy_and_ends_by_sigterm(store: str, empty: Database, memory_path: Path, request: pytest.FixtureRequest) -> None:
    """On an empty database and an empty vector store, as at the first start."""
    if store == "server":
        with started_qdrant(memory_path, SERVICE__API_KEY=expanded(WEB["environment"]["QDRANT_API_KEY"])) as server:
            check_web(memory_path, DATABASE_URL=empty.url(), QDRANT_URL=server.url)
    else:
        check_web(memory_path, DATABASE_URL=empty.url(), QDRANT_URL="", QDRANT_PATH=str(memory_path / "qdrant"))


def check_web(folder: Path, **here: str) -> None:
    port = free_port()
    check = [("/venv/bin/python", sys.executable), ("127.0.0.1:8000", f"127.0.0.1:{port}")]
    assert health_check("web", *check) != 0
    with running_web(port, folder, **here) as process:
        becomes(0, check, process)
        page = httpx.get(f"http://127.0.0.1:{port}/admin/login/")
        style = re.search(r'href="(/static/findme/admin\.css)"', page.text)
        assert page.status_code == 200 and style is not None
        assert httpx.get(f"http://127.0.0.1:{port}{style[1]}").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    assert "Traceback" not in (folder / "web.log").read_text()


@pytest.mark.at_length
@pytest.mark.long
def test_web__is_unhealthy_where_a_store_is_not_ready(migrated: Database, memory_path: Path) -> None:
    """With every migration and without a vector store: 503."""
    port = free_port()
    check = [("/venv/bin/python", sys.executable), ("127.0.0.1:8000", f"127.0.0.1:{port}")]
    serve = WEB["command"][2].splitlines()[-1].removeprefix("exec /venv/bin/python ").replace("0.0.0.0:8000", f"127.0.0.1:{port}").split()
    here = settings_of_web(memory_path, DATABASE_URL=migrated.url(), QDRANT_URL="http://127.0.0.1:9")
    with subprocess.Popen(
        [sys.executable, *serve], cwd=BASE_DIR, env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or status_of(f"http://127.0.0.1:{port}/readyz") == 503, poll_seconds=0.2)
            assert process.poll() is None
            assert health_check("web", *check) != 0
        finally:
            process.kill()


def status_of(url: str) -> int:
    try:
        return httpx.get(url, timeout=DEADLINE_SECONDS).status_code
    except httpx.TransportError:
        return 0


class Readyz(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_qdrant__health_check_reads_the_status(status: int, code: int) -> None:
    """The image has bash, and neither curl nor wget."""
    handler = type("Answer", (Readyz,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert health_check("qdrant", ("127.0.0.1/6333", f"127.0.0.1/{server.server_port}")) == code
        finally:
            server.shutdown()
            thread.join()
    assert health_check("qdrant", ("127.0.0.1/6333", f"127.0.0.1/{free_port()}")) != 0


@pytest.mark.qdrant_server
def test_qdrant__health_check_needs_no_key(memory_path: Path) -> None:
    if program() is None:
        pytest.skip("it starts a server of its own, and there is no program qdrant")
    name, key = next(iter(SERVICES["qdrant"]["environment"].items()))
    with started_qdrant(memory_path, **{name.removeprefix("QDRANT__"): expanded(key)}) as server:
        assert status_of(f"{server.url}/collections") == 401
        assert health_check("qdrant", ("127.0.0.1/6333", server.url.removeprefix("http://").replace(":", "/"))) == 0


def test_postgres__health_check_asks_the_server(empty: Database) -> None:
    """By the program and the names of the service; the test's own server has a socket only."""
    from findme.core.postgresql.programs import installed_binaries

    binaries = installed_binaries()
    where = dict(part.split("=", 1) for part in empty.url().partition("?")[2].split("&"))
    changes = [("pg_isready", str(binaries.path("pg_isready"))), ("--host=127.0.0.1", f"--host={where['host'].replace('%2F', '/')}")]
    if port := where.get("port"):
        changes.append(("--dbname=findme", f"--port={port}"))
    assert health_check("postgres", *changes) == 0
    changes[1] = ("--host=127.0.0.1", "--host=/nonexistent")
    assert health_check("postgres", *changes) != 0
