"""``/healthz`` and ``/readyz`` in separate processes: checks that decide, other data, and a hung store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.timezone import now

from findme.web.health import watcher
from findme.web.health.report import PostgresqlReport, Report, Status, Sync
from findme.web.health.watcher import CACHED_SECONDS, Watched
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer, freeze, thaw
from tests.support.database import Database
from tests.support.processes import PRODUCTION, python
from tests.support.web import Answer, Web, serving
from tests.vectorstore.sync.proxy import PostgresProxy, postgres_proxy
from vectorstore.models import SyncWorker
from vectorstore.schema.initialize import initialize

BRIEFLY_CACHED = "import findme.wsgi\nfrom findme.web.health import watcher\nwatcher.CACHED_SECONDS = 0.5\n"
PRODUCTION_OF_THE_TEST = {"DEBUG": "off", "SECURE_SSL_REDIRECT": "on", "ALLOWED_HOSTS": "findme.example"}


def ready(web: Web, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = web.ask("GET", "/readyz", **headers)
    return answer.status, json.loads(answer.body)


def becomes(web: Web, wanted: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
    """Request it until the answer is the wanted one, because an answer is cached."""
    deadline = time.monotonic() + 60
    while not wanted(*(found := ready(web))):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found[1]


def is_ready(status: int, _found: dict[str, Any]) -> bool:
    return status == 200


@pytest.fixture
def web(embedded_qdrant: Path, transactional_db: None) -> Iterator[Web]:
    initialize()
    with serving(**PRODUCTION_OF_THE_TEST) as served:
        yield served


def test_healthz__answers_without_a_database() -> None:
    """This test has no access to a database."""
    response = Client().get("/healthz", HTTP_HOST="192.0.2.1:9999")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response["Cache-Control"] == "no-store"
    assert Client().post("/healthz").status_code == 405
    assert Client().head("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health__wrong_method__is_not_cached_either(path: str) -> None:
    response = Client().post(path)
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
    assert (response["Cache-Control"], response["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.at_length
@pytest.mark.long
def test_readyz__in_production(web: Web) -> None:
    """It is not redirected, for any host name, and has no personal data."""
    person = ProfileEmbeddingFactory.create().user
    SyncWorker.objects.create(id=person.pk, host="a-host", pid=1, heartbeat_at=now())
    assert web.ask("GET", "/admin/", Host="findme.example").status == 301
    assert web.ask("GET", "/healthz", Host="192.0.2.1:9999").status == 200
    becomes(web, is_ready)
    status, found = ready(web, Host="192.0.2.1:9999")
    oldest = found["sync"].pop("oldest_entry_seconds")
    assert (status, found) == (
        200,
        {
            "status": "ready",
            "checks": {"postgresql": "ok", "qdrant": "ok", "migrations": "ok", "triggers": "ok", "ledger": "ok"},
            "unapplied_migrations": 0,
            "schema_problems": 0,
            "sync": {"queued": 1, "quarantined": 0, "workers": 1},
            "privacy": {"oldest_pending_seconds": None},
        },
    )
    assert 0 <= oldest < 120
    assert str(person.pk) not in str(found) and "a-host" not in str(found)


@pytest.mark.at_length
@pytest.mark.long
def test_readyz__migrations_and_triggers(embedded_qdrant: Path, migrated: Database) -> None:
    embedded_qdrant.mkdir()
    with serving(None, BRIEFLY_CACHED, **PRODUCTION_OF_THE_TEST) as web:
        becomes(web, is_ready)
        migrated.execute("ALTER TABLE users DISABLE TRIGGER USER")
        # On a busy machine a probe may give no answer in time.
        found = becomes(web, lambda status, found: status == 503 and found["checks"]["triggers"] == "not as migrated")
        assert found["checks"] == {
            "postgresql": "ok",
            "qdrant": "ok",
            "migrations": "ok",
            "triggers": "not as migrated",
            "ledger": "ok",
        }
        assert found["schema_problems"] > 0
        migrated.execute("DELETE FROM django_migrations WHERE app = 'axes' AND name LIKE '0010%'")
        found = becomes(web, lambda _, found: found["unapplied_migrations"] == 1)
        assert found["checks"] == {
            "postgresql": "ok",
            "qdrant": "ok",
            "migrations": "not all applied",
            "triggers": "unknown",
            "ledger": "unknown",
        }
        assert found["sync"] is None
        migrated.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('axes', '9999_newer', now())")
        migrated.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('axes', '0010_accessattemptexpiration', now())")
        found = becomes(web, lambda _, found: found["unapplied_migrations"] == 0)
        assert found["checks"]["migrations"] == "ok"


@pytest.mark.at_length
@pytest.mark.long
def test_readyz__a_hung_postgresql(embedded_qdrant: Path, transactional_db: None) -> None:
    """Many clients get their answer in time, and the process recovers together with PostgreSQL."""
    embedded_qdrant.mkdir()
    with postgres_proxy() as postgresql:
        postgresql.open()
        with serving(None, BRIEFLY_CACHED, DATABASE_URL=f"{postgresql.url()}?connect_timeout=2", DEBUG="off") as web:
            check_a_hung_postgresql(web, postgresql)


def check_a_hung_postgresql(web: Web, postgresql: PostgresProxy) -> None:
    becomes(web, is_ready)
    postgresql.frozen.set()
    found = becomes(web, lambda status, _: status == 503)
    assert found["checks"]["postgresql"] in ("no answer in time", "unavailable")
    assert found["sync"] is None
    begun = time.monotonic()
    answers = list[Answer]()
    asking = [threading.Thread(target=lambda: answers.append(web.ask("GET", "/readyz"))) for _ in range(20)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert {answer.status for answer in answers} == {503}
    assert time.monotonic() - begun < 60
    assert web.ask("GET", "/healthz").status == 200
    postgresql.frozen.clear()
    becomes(web, is_ready)


@pytest.mark.qdrant_server
@pytest.mark.long
def test_readyz__a_frozen_qdrant(qdrant_server: QdrantServer, transactional_db: None) -> None:
    initialize()
    with serving(DEBUG="off") as web:
        becomes(web, is_ready)
        freeze(qdrant_server)
        try:
            found = becomes(web, lambda status, _: status == 503)
            assert found["checks"]["qdrant"] in ("no answer in time", "unavailable")
            assert found["checks"]["postgresql"] == "ok" and found["sync"] is not None
        finally:
            thaw(qdrant_server)
        becomes(web, is_ready)


@pytest.mark.qdrant_server
def test_readyz__a_qdrant_without_the_collection(qdrant_server: QdrantServer, transactional_db: None) -> None:
    with serving(DEBUG="off") as web:
        found = becomes(web, lambda status, found: found["checks"]["qdrant"] != "no answer in time")
        assert (found["status"], found["checks"]["qdrant"]) == ("not ready", "unavailable")


@pytest.mark.at_length
def test_readyz__starts_no_embedded_server_where_debug_is_off(tmp_path: Path) -> None:
    """This also holds if the check of WSGI is bypassed."""
    code = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'findme.settings'; import django; django.setup();"
        " from findme.web.health import watcher; watcher.WAIT_SECONDS = 60.0;"
        " from django.test import Client; answer = Client().get('/readyz'); print(answer.status_code, answer.json()['checks'])"
    )
    folder = tmp_path / "pg"
    there = PRODUCTION | {"DATABASE_URL": "", "EMBEDDED_POSTGRES_DIR": str(folder), "QDRANT_PATH": str(tmp_path / "qdrant")}
    found = python("-W", "ignore", "-c", code, **there)
    unknown = "'migrations': 'unknown', 'triggers': 'unknown', 'ledger': 'unknown'"
    assert found == (0, f"503 {{'postgresql': 'unavailable', 'qdrant': 'unavailable', {unknown}}}\n", "")
    assert list(tmp_path.iterdir()) == []


OK_POSTGRESQL = PostgresqlReport(Status.OK, Status.OK, Status.OK, 0, 0, Sync(86_400.0, 1_001, 1_001, 0))


def test_report__the_queue_and_workers_are_data() -> None:
    """The sync is a day behind, without a worker. A 503 would only take every web process out of service."""
    assert Report(OK_POSTGRESQL, Status.OK).is_ready


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_report__stores_migrations_and_triggers_decide(status: Status) -> None:
    assert not Report(OK_POSTGRESQL, status).is_ready
    assert not Report(PostgresqlReport(status), Status.OK).is_ready
    assert not Report(PostgresqlReport(Status.OK, status, Status.OK), Status.OK).is_ready
    assert not Report(PostgresqlReport(Status.OK, Status.OK, status), Status.OK).is_ready


def watched(probe: Callable[[], str]) -> Callable[[], str]:
    tested = Watched(probe, failed="failed", hung="hung")

    def ask() -> str:
        tested.begin()
        return tested.result()

    return ask


def test_watched__looks_once_in_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[int]()

    def probe() -> str:
        looks.append(1)
        return f"look {len(looks)}"

    ask = watched(probe)
    assert {ask() for _ in range(10)} == {"look 1"}
    monkeypatch.setattr(watcher, "CACHED_SECONDS", 0.0)
    monkeypatch.setattr(Watched, "_is_fresh", lambda self: len(looks) == 2)
    assert ask() == "look 2"
    assert CACHED_SECONDS == 5.0


def test_watched__a_hung_probe_holds_one_thread_and_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "WAIT_SECONDS", 0.2)
    released, looks = threading.Event(), list[int]()

    def probe() -> str:
        looks.append(1)
        released.wait(60)
        return "back"

    ask = watched(probe)
    assert ask() == "hung"
    monkeypatch.setattr(watcher, "WAIT_SECONDS", 0.0)
    assert [ask() for _ in range(10)] == ["hung"] * 10
    assert looks == [1]
    monkeypatch.setattr(watcher, "WAIT_SECONDS", 60.0)
    released.set()
    assert ask() == "back"


def test_watched__a_defect_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    def probe() -> str:
        raise LookupError("a defect")

    assert watched(probe)() == "failed"
    assert "A check of /readyz failed." in caplog.text


def test_settings__health_checks_come_first() -> None:
    assert settings.MIDDLEWARE[0] == "findme.web.health.middleware.answer_health_checks"
