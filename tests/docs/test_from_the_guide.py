"""The page for users of the migration guide: its commands are run in their order, on the guide's installation, while its services write."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings
from qdrant_client import QdrantClient

from findme.core.postgresql.programs import installed_binaries
from findme.environment import BASE_DIR
from findme.migrator.baseline.scratch import migrated_schema
from tests.docs.pages import page
from tests.docs.walk import Shown, shown_in, walk
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.commands import environment, manage_here
from tests.support.database import Database, database, use_database
from tests.support.guide.go_programs import GoPrograms, go_programs
from tests.support.guide.installation import Installation, install
from tests.support.guide.points import COLLECTION
from tests.support.guide.schema import write_migrations
from tests.support.guide.services import differences, services
from tests.support.guide.vector_service import FIRST, VectorService
from tests.support.memory import folder_in_memory
from tests.support.postgresql_versions import SUPPORTED, installed_versions, server_of_version
from tests.support.waiting import DEADLINE_SECONDS

__all__ = ["go_programs"]

SHOWN = shown_in(page("from-the-guide.md"))
FINDINGS = {("2", "baseline"), ("5", "import_embeddings"), ("6", "import_embeddings")}
"""The commands that end with exit code 1: rows break rules, and points of deleted users are rejected. Steps and commands."""
USERS = 40
BY_SERVICES = 8
"""How many users get new vectors from a service again and again."""
OLD, NEW = 1_000_000, 2_000_000
"""First seeds of the vectors of the guide's service, and of the one that writes to PostgreSQL."""


@dataclass
class Shell:
    """Runs the commands of the page in a folder with a link to ``manage.py``."""

    folder: Path
    variables: Mapping[str, str]
    watching: list[subprocess.Popen[str]] = field(default_factory=list)
    snapshot: str = ""
    printed: str = ""

    def __post_init__(self) -> None:
        (self.folder / "manage.py").symlink_to(BASE_DIR / "manage.py")

    def run(self, shown: Shown) -> tuple[int, str]:
        """Return the exit code and what was printed. ``--watch`` runs until the end of the test."""
        command = with_conflicts(shown.command.replace("NAME", self.snapshot), self.printed)
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if command.endswith("--watch"):
            self.watching.append(process)
            return 0, ""
        printed, _ = process.communicate(timeout=DEADLINE_SECONDS)
        self.printed = printed
        if found := re.search(r'"name":"([^"]+\.snapshot)"', printed):
            self.snapshot = found[1]
        return process.returncode, printed

    def close(self) -> None:
        for process in self.watching:
            process.terminate()
            process.communicate(timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def with_conflicts(command: str, printed: str) -> str:
    """Replace the page's number of ``--discard-vectors`` by the one that the plan has just ``printed``."""
    found = re.search(r"--discard-vectors (\d+)", printed)
    return re.sub(r"(--discard-vectors) \d+", rf"\1 {found[1] if found else 0}", command)


class Here(Shell):
    """Runs the commands of ``manage.py`` in this process, ``--watch`` as ``--once``. The embedded store has no address for ``curl``."""

    def run(self, shown: Shown) -> tuple[int, str]:
        if not shown.command.startswith("python manage.py "):
            return (0, "") if shown.command.startswith("curl ") else super().run(shown)
        command = shlex.split(with_conflicts(shown.command.replace("--watch", "--once"), self.printed))
        code, out, err = manage_here(*command[2:])
        self.printed = err + out
        # The services write on, and exit code 1 says that a user was queued in the last moment. A watching worker would write that user too.
        is_done = "--once" in command and code == 1 and " remaining, " in out
        return 0 if is_done else int(code or 0), self.printed


class Walk:
    """The services of one installation: those of the tables, and the one that writes vectors, before and after its deployment."""

    def __init__(self, installation: Installation, old: tuple[str, str] | None, pause_seconds: float, **variables: str) -> None:
        self.installation, self.old, self.pause_seconds, self.variables = installation, old, pause_seconds, variables
        living = set(installation.rows.users)
        self.points = [point for point in installation.points if point.user_id in living][:BY_SERVICES]
        self.vectors: dict[UUID, list[float]] = {}
        self.errors: list[str] = []
        self._service: VectorService | None = None

    def before(self, step: str) -> None:
        """Start the guide's service with the first step. Replace it in the step that deploys the new one."""
        if self._service is None and self.old is not None and "Deploy" not in step:
            self._service = VectorService(*self.old, self.points, OLD, self.pause_seconds, **self.variables)
        elif "Deploy" in step:
            self.end()
            self._service = VectorService("postgresql", self.installation.database.url(), self.points, NEW, self.pause_seconds)

    def end(self) -> None:
        if self._service is not None:
            written = self._service.end()
            self.vectors |= written.vectors()
            self.errors += written.errors
            self._service = None

    def walk(self, run: Callable[[Shown], tuple[int, str]], count: int, folder: Path) -> None:
        """Run the page with ``count`` services, and write a transcript to ``folder``. Nothing may be lost, and every command must print what the page shows."""
        try:
            with services(self.installation.database, count, self.pause_seconds) as reports:
                differing = walk(SHOWN, run, self.before, folder / "transcript.txt", FINDINGS)
                self.end()
        finally:
            if self._service is not None:
                self._service.kill()
        assert differing == [], "\n".join(differing)
        assert self.errors == []
        with self.installation.database.connect() as session:
            assert [error for report in reports for error in (*report.errors, *differences(session, report))] == []
        assert self.installation.changed_rows() == {(table_of(rule), key) for rule, key in self.installation.broken.items()}
        assert self.installation.lost_embeddings(self.vectors) == []
        assert len(self.vectors) >= FIRST


def table_of(rule: str) -> str:
    """Return the table of a rule: ``matches_user_action_check`` or ``videos.metadata``."""
    return re.split(r"[._]", rule)[0]


@pytest.fixture
def own_server(settings: Settings, tmp_path: Path) -> Iterator[QdrantServer]:
    """A server of its own, because the page says ``profile_embeddings``."""
    with folder_in_memory() as folder, started_qdrant(folder) as server:
        settings.QDRANT_URL, settings.QDRANT_COLLECTION = server.url, COLLECTION
        yield server


def shell(folder: Path, kind: type[Shell] = Shell) -> Shell:
    """Return a shell with the settings of the test, and the programs of PostgreSQL and of this Python on the PATH."""
    variables = environment()
    programs = (Path(sys.executable).parent, installed_binaries().path("pg_dump").parent)
    return kind(folder, variables | {"PATH": os.pathsep.join([*map(str, programs), variables["PATH"]])})


def test_page__each_command_of_a_step_is_found() -> None:
    typed = [shown.command.split()[2] for shown in SHOWN if shown.command.startswith("python manage.py ")]
    assert list(dict.fromkeys(typed)) == [
        "baseline",
        "schema_version",
        "import_embeddings",
        "init_qdrant",
        "sync_qdrant",
        "verify_qdrant",
    ]


@pytest.mark.long
def test_page__embedded_store(empty: Database, embedded_qdrant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes seconds, and is always the same.
    monkeypatch.setattr("findme.migrator.baseline.recognize.migrated_schema", cache(migrated_schema))
    with closing(QdrantClient(path=str(embedded_qdrant))) as client:
        installation = install(empty, client, USERS, breaking_rules=True)
    with shell(tmp_path, Here) as commands:
        Walk(installation, None, 0.1).walk(commands.run, 1, tmp_path)
    assert_clean()


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.qdrant_server
def test_page__server(empty: Database, own_server: QdrantServer, tmp_path: Path) -> None:
    """By processes, as the page says."""
    walk_on_server(empty, own_server, tmp_path, ("qdrant", own_server.url))


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.qdrant_server
def test_page__go_services(go_programs: GoPrograms, empty: Database, own_server: QdrantServer, tmp_path: Path) -> None:
    """The guide's Go code writes the points. Afterwards its search finds users through the alias, and golang-migrate its version."""
    installation = walk_on_server(empty, own_server, tmp_path, ("go", str(go_programs.folder / "guide")))
    asked = {"vector": installation.points[-1].embedding, "filters": {}, "limit": 100}
    found = go_programs.run("guide", "search", stdin=json.dumps(asked), QDRANT_GRPC_PORT=str(own_server.grpc_port)).split()
    assert set(found) == {
        str(point.user_id)
        for point in installation.points
        if point.user_id in installation.rows.users and point.payload["active"] and point.payload["verified"]
    }
    migrations = write_migrations(empty, tmp_path)
    golang_migrate = partial(go_programs.run, "migrate", "-path", str(migrations), "-database", f"{empty.url()}&sslmode=disable")
    assert golang_migrate("version").strip() == "4"
    assert "no change" in golang_migrate("up")
    add_own_migration(migrations)
    assert "5/u likes" in golang_migrate("up")
    assert manage_here("schema_version", "--check")[0] == 0


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.qdrant_server
@pytest.mark.parametrize("version", [version for version in installed_versions() if version == min(SUPPORTED)])
def test_page__oldest_postgresql(version: int, own_server: QdrantServer, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), server_of_version(version), database() as made, use_database(made):
        walk_on_server(made, own_server, tmp_path, ("qdrant", own_server.url))


def add_own_migration(folder: Path) -> None:
    """Add what the page permits afterwards: a table, and a column without a value."""
    (folder / "000005_likes.up.sql").write_text(
        "CREATE TABLE likes (user_id uuid REFERENCES users(id) ON DELETE CASCADE); ALTER TABLE users ADD COLUMN nickname varchar(50);"
    )


def walk_on_server(made: Database, server: QdrantServer, folder: Path, old: tuple[str, str]) -> Installation:
    with closing(QdrantClient(url=server.url, check_compatibility=False)) as client, shell(folder) as commands:
        installation = install(made, client, USERS, breaking_rules=True)
        Walk(installation, old, 0.01, QDRANT_GRPC_PORT=str(server.grpc_port)).walk(commands.run, 2, folder)
        assert (folder / "before.dump").stat().st_size > 1000
        assert_is_snapshot(folder / "before.snapshot")
        assert_clean()
    return installation


def assert_clean() -> None:
    """Assert that both stores agree, and that golang-migrate would still find its version."""
    assert manage_here("sync_qdrant", "--once")[0] == 0
    assert manage_here("verify_qdrant")[0] == 0
    assert manage_here("schema_version", "--check")[0] == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, dirty FROM schema_migrations")
        assert cursor.fetchall() == [(4, False)]


def assert_is_snapshot(path: Path) -> None:
    with tarfile.open(path) as archive:
        assert any(name.endswith("config.json") for name in archive.getnames())
