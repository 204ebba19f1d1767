"""Qdrant for tests: an embedded store in a temporary folder, and a real server.

The server is the one at QDRANT_URL, the program that QDRANT_PROGRAM names, or a program ``qdrant`` on the PATH. Each process that runs tests starts
the program once. Without a server, tests with the marker ``qdrant_server`` are skipped. The last line of the run says how many.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pytest_django import Settings

from tests.support.memory import folder_in_memory

NO_SERVER = "no QDRANT_URL, no QDRANT_PROGRAM and no program qdrant on the PATH"
START_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """A server for tests. ``pid`` is None if the tests did not start it. ``grpc_port`` is 0 if it is unknown."""

    url: str
    api_key: str = ""
    grpc_port: int = 0
    pid: int | None = None


def program() -> str | None:
    """Return the path of the server's program.

    Raise pytest.UsageError if QDRANT_PROGRAM names no program, because a wrong path must not skip tests.
    """
    if not (named := os.environ.get("QDRANT_PROGRAM")):
        return shutil.which("qdrant")
    if found := shutil.which(named):
        return found
    raise pytest.UsageError(f"QDRANT_PROGRAM is {named!r}: it must be the path of a Qdrant server's program.")


def pytest_configure() -> None:
    """Use no proxy for loopback addresses."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("QDRANT_URL") or program():
        return
    for item in items:
        if item.get_closest_marker("qdrant_server"):
            item.add_marker(pytest.mark.skip(reason=NO_SERVER))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Write the number of skipped tests as the last line of the run."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if "qdrant_server" in report.keywords]
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        reporter.write_line("; ".join(f"{count} qdrant_server tests skipped: {reason}" for reason, count in reasons.items()))


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A temporary folder for a store. It is faster than ``tmp_path``."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def embedded_qdrant(settings: Settings, memory_path: Path) -> Path:
    """Use the embedded vector store. Its folder does not exist yet."""
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = "", "", 0
    settings.QDRANT_PATH = str(memory_path / "vector store")
    settings.QDRANT_COLLECTION = "profile_embeddings"
    return memory_path / "vector store"


@pytest.fixture(scope="session")
def running_qdrant() -> Iterator[QdrantServer]:
    """The server for all tests of this process."""
    if url := os.environ.get("QDRANT_URL"):
        yield QdrantServer(url, os.environ.get("QDRANT_API_KEY", ""), int(os.environ.get("QDRANT_GRPC_PORT", "0")))
        return
    with folder_in_memory() as folder, started_qdrant(folder) as server:
        yield server


@pytest.fixture
def qdrant_server(running_qdrant: QdrantServer, settings: Settings) -> Iterator[QdrantServer]:
    """Use the real server by REST, with a new alias. The test's collections are deleted afterwards."""
    _use(running_qdrant, settings, grpc_port=0)
    yield running_qdrant
    clean_up(running_qdrant, settings.QDRANT_COLLECTION)


@pytest.fixture
def qdrant_server_grpc(running_qdrant: QdrantServer, settings: Settings) -> Iterator[QdrantServer]:
    """Use the real server by gRPC."""
    if not running_qdrant.grpc_port:
        pytest.skip("QDRANT_GRPC_PORT does not say where the server at QDRANT_URL speaks gRPC")
    _use(running_qdrant, settings, grpc_port=running_qdrant.grpc_port)
    yield running_qdrant
    clean_up(running_qdrant, settings.QDRANT_COLLECTION)


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.qdrant_server)])
def store(request: pytest.FixtureRequest) -> str:
    """Use each vector store in turn: ``embedded``, and ``server`` by REST."""
    return _store(request)


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("server", marks=pytest.mark.qdrant_server),
        pytest.param("server_grpc", marks=pytest.mark.qdrant_server),
    ]
)
def every_store(request: pytest.FixtureRequest) -> str:
    """Each vector store in turn, including the server over gRPC."""
    return _store(request)


@pytest.fixture(params=["server", "server_grpc"])
def server(request: pytest.FixtureRequest) -> QdrantServer:
    """Use the real server by REST and by gRPC in turn. The tests need the marker ``qdrant_server``."""
    _store(request)
    found: QdrantServer = request.getfixturevalue("running_qdrant")
    return found


def _store(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    request.getfixturevalue("embedded_qdrant" if kind == "embedded" else f"qdrant_{kind}")
    return kind


def _use(server: QdrantServer, settings: Settings, grpc_port: int) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, server.api_key, grpc_port
    settings.QDRANT_COLLECTION = f"findme_test_{secrets.token_hex(8)}"


def clean_up(server: QdrantServer, collection: str) -> None:
    """Delete every collection whose name begins with the test's alias, together with its aliases."""
    with httpx.Client(base_url=server.url, headers={"api-key": server.api_key} if server.api_key else {}, timeout=30) as client:
        listed = client.get("/collections").raise_for_status().json()["result"]["collections"]
        for name in (one["name"] for one in listed if one["name"].startswith(collection)):
            client.delete(f"/collections/{name}").raise_for_status()


@contextmanager
def started_qdrant(folder: Path, **environment: str) -> Iterator[QdrantServer]:
    """Run a server at free loopback ports during the block. ``environment`` has more settings, such as ``SERVICE__API_KEY``."""
    path = program()
    if path is None:
        pytest.skip("the test starts a Qdrant server, and there is no program qdrant")
    for _ in range(5):
        names = own_settings(folder) | environment
        process = launch(folder, names, path)
        try:
            if ready(process, names):
                yield server_of(names, process.pid)
                return
        finally:
            stop(process)
        # Another process took one of the ports, so the server ended. Try other ports.
    raise AssertionError(f"qdrant does not start:\n{(folder / 'qdrant.log').read_text()[-2000:]}")


def own_settings(folder: Path) -> dict[str, str]:
    return {
        "SERVICE__HOST": "127.0.0.1",
        "SERVICE__HTTP_PORT": str(free_port()),
        "SERVICE__GRPC_PORT": str(free_port()),
        "STORAGE__STORAGE_PATH": str(folder / "storage"),
        "STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "TELEMETRY_DISABLED": "true",
        "LOG_LEVEL": "WARN",
    }


def launch(folder: Path, names: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **{f"QDRANT__{name}": value for name, value in names.items()}}
    with (folder / "qdrant.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def server_of(names: dict[str, str], pid: int | None) -> QdrantServer:
    scheme = "https" if names.get("SERVICE__ENABLE_TLS") == "true" else "http"
    url = f"{scheme}://127.0.0.1:{names['SERVICE__HTTP_PORT']}"
    return QdrantServer(url, names.get("SERVICE__API_KEY", ""), int(names["SERVICE__GRPC_PORT"]), pid)


def ready(process: subprocess.Popen[bytes], names: dict[str, str]) -> bool:
    url = server_of(names, process.pid).url
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(verify=False, trust_env=False, timeout=2) as client:
        while process.poll() is None:
            assert time.monotonic() < deadline, f"qdrant is not ready after {START_SECONDS} s"
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    socket.create_connection(("127.0.0.1", int(names["SERVICE__GRPC_PORT"]))).close()
                    return True
            except (httpx.TransportError, ConnectionError):
                time.sleep(0.05)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server with SIGTERM, or with SIGKILL if it does not end."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def freeze(server: QdrantServer) -> None:
    """Stop the server with SIGSTOP, and wait until it has stopped."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)


def thaw(server: QdrantServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGCONT)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
