"""Point-in-time recovery by PostgreSQL's own means, and the way back to two stores that agree: docs/backups.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from qdrant_client import QdrantClient

from findme.embedded import server
from findme.embedded.paths import find_installation
from findme.embedded.server import Running
from tests.findme.core.postgresql.standby import base_backup, copy_running, is_in_recovery
from tests.support.processes import ended, start_python
from tests.support.untraced import untraced
from tests.support.waiting import wait_until

USERS = """
    WITH made AS (
        INSERT INTO users (email, password_hash, full_name, date_of_birth, gender, bio, verified, active)
        SELECT %(name)s || n || '@example.org', '', %(name)s || n, '1990-01-01', 'other', 'right', true, true FROM generate_series(1, %(count)s) n RETURNING id
    )
    INSERT INTO profile_embeddings (user_id, vector) SELECT id, array_fill(1::real, ARRAY[512]) FROM made
"""
WAY_BACK = ("prepare_restored_database --no-input", "replay_erasures", "verify_qdrant --repair", "sync_qdrant --once", "verify_qdrant")
REPLAYED = """\
2 entries in the ledger outside, 2 copied to PostgreSQL.
Anonymize: repeated for 1 user.
Erase: repeated for 1 user.
"""
COMMANDS = """
import contextlib, io, json, shlex, sys
from findme.cli import main
for command in sys.argv[1:]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(["manage.py", *shlex.split(command)])
    print(json.dumps({"code": code or 0, "output": output.getvalue()}))
"""


@dataclass(frozen=True)
class Service:
    """A database, an embedded vector store and a ledger outside, which the commands use."""

    url: str
    folder: Path

    def run(self, *commands: str) -> list[tuple[int, str]]:
        """Return the exit code and the output of each command of ``manage.py``. One process runs them all."""
        stores = {
            "DATABASE_URL": self.url,
            "QDRANT_URL": "",
            "QDRANT_PATH": str(self.folder / "qdrant"),
            "ERASURE_LEDGER_URL": str(self.folder / "ledger"),
            "ERASURE_LEDGER_KEYS": str(self.folder / "keys"),
            "PRIVACY_SIGNING_KEY": str(self.folder / "signing.key"),
            "EXPORTS_DIR": str(self.folder / "exports"),
            "DEBUG": "on",
            "DJANGO_SETTINGS_MODULE": "findme.settings",
        }
        code, printed, errors = ended(start_python(untraced() | stores, "-c", COMMANDS, *commands))
        assert code == 0, errors
        return [(one["code"], one["output"]) for one in map(json.loads, printed.splitlines())]

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as session:
            cursor = session.execute(statement.encode(), parameters or None)
            return [row[0] for row in cursor.fetchall()] if cursor.description else []

    def points(self) -> dict[str, dict[str, Any]]:
        """Return the payloads by the ids of the points."""
        client = QdrantClient(path=str(self.folder / "qdrant"))
        try:
            records, _ = client.scroll("profile_embeddings", limit=1000)
            return {str(record.id): dict(record.payload or {}) for record in records}
        finally:
            client.close()


@contextmanager
def archiving_server(folder: Path) -> Iterator[Running]:
    """A server that archives its WAL below ``folder``."""
    archive = folder / "archive"
    archive.mkdir()
    running = server.ensure_running(folder / "primary", durable=False)
    find_installation(running.folder).account.take_ownership(archive)
    with psycopg.connect(running.url, autocommit=True) as session:
        session.execute("ALTER SYSTEM SET archive_mode = on")
        session.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'".encode())
    server.stop(running.folder)
    try:
        yield server.ensure_running(folder / "primary", durable=False)
    finally:
        server.stop(running.folder)


def archive_everything(service: Service) -> None:
    [last] = service.query("SELECT pg_walfile_name(pg_switch_wal())")
    wait_until(lambda: service.query("SELECT last_archived_wal >= %(last)s FROM pg_stat_archiver", last=last) == [True])


def recover(copy: Path, archive: Path, target_time: str) -> None:
    """Write what ``pgbackrest restore``, ``barman restore`` or an operator of WAL-G writes into the data folder of a base backup."""
    data = copy / "data"
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            f"archive_mode = off\nrestore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{target_time}'\nrecovery_target_action = promote\n"
        )
    (data / "recovery.signal").touch()


@pytest.mark.at_length
@pytest.mark.long
def test_recovery_to_a_point_in_time__the_erased_stay_erased_and_the_stores_agree(open_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir(mode=0o700)
    with archiving_server(open_folder) as primary:
        before = Service(primary.url, tmp_path)
        before.run("migrate --no-input", "init_qdrant", "ledger_keys")
        before.query(USERS, name="early", count=20)
        base_backup(primary, open_folder / "copy", "-X", "none")
        before.query(USERS, name="late", count=20)
        before.run("sync_qdrant --once")
        [target] = before.query("SELECT clock_timestamp()::text")

        # After the target: two privacy actions, a new user, and the mistake that is the reason for the recovery.
        erased, anonymized = before.query("SELECT id::text FROM users WHERE email ~ '^(early|late)1@' ORDER BY email")
        assert [code for code, _ in before.run(f"erase_user {erased} --hard --no-input", f"anonymize_user {anonymized} --no-input")] == [
            0,
            0,
        ]
        before.query(USERS, name="new", count=1)
        before.query("UPDATE users SET bio = 'wrong', date_of_birth = '1980-01-01' WHERE email ~ '@example'")
        before.run("sync_qdrant --once")
        archive_everything(before)
    recover(open_folder / "copy", open_folder / "archive", target)

    with copy_running(primary, open_folder / "copy", lambda url: is_in_recovery(url) is False) as url:
        restored = Service(url, tmp_path)
        assert restored.query("SELECT count(*) FROM users WHERE bio = 'right'") == [40]
        assert set(restored.query("SELECT id::text FROM users")) >= {erased, anonymized}
        written, searched, prepared, replayed, repaired, synced, verified = restored.run(
            "sync_qdrant --once", f"search_profiles --user {anonymized}", *WAY_BACK
        )
        assert (written[0], searched[0]) == (2, 2)
        assert "manage.py verify_qdrant --repair" in written[1]
        assert "manage.py replay_erasures" in searched[1]
        assert prepared[0] == 0, prepared[1]
        assert replayed == (0, REPLAYED)
        assert (repaired[0], synced[0]) == (1, 0)
        assert verified[0] == 0
        assert re.search(r": 38 points of 38 users, no differences", verified[1])
        users = set(restored.query("SELECT id::text FROM users"))
        assert erased not in users
        assert len(users) == 39
        assert restored.query("SELECT full_name FROM users WHERE id::text = %(one)s", one=anonymized) == ["Deleted User"]
        points = restored.points()
        assert points.keys() == users - {anonymized}
        assert {point["user_id"] for point in points.values()} == points.keys()
