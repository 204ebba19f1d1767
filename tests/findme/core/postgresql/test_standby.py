"""Commands on a read-only server: reading works, and writing ends with the reason in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from findme.embedded import server
from tests.findme.core.postgresql.standby import hot_standby
from tests.support.processes import manage

USER = "4a9b659b-6607-5e7d-9873-1bd46266e31c"
SAID = "the server is a hot standby, which is read-only. Set the address of the primary in DATABASE_URL.\n"


@dataclass(frozen=True)
class Standby:
    settings: dict[str, str]
    files: Path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return manage(*(word.format(files=self.files, user=USER) for word in arguments), **self.settings)


@pytest.fixture
def standby(open_folder: Path) -> Iterator[Standby]:
    """A standby of a database with one user and embedding, and its embedded vector store."""
    settings = {"EMBEDDED_POSTGRES_DIR": str(open_folder / "pg"), "QDRANT_PATH": str(open_folder / "qdrant")}
    primary = server.ensure_running(open_folder / "pg", durable=False)
    row = {"user_id": USER, "vector": [1.0, *[0.0] * 511]}
    (open_folder / "rows.jsonl").write_text(json.dumps(row))
    for command in (
        ["migrate", "--verbosity", "0"],
        ["init_qdrant"],
        [
            "dbshell",
            "--",
            "-qc",
            f"INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, verified) VALUES ('{USER}', 'ann@example.org', '', 'Ann', '1990-01-01', 'female', true)",
        ],
        ["upsert_embeddings", str(open_folder / "rows.jsonl"), "--model", "m"],
    ):
        code, out, err = manage(*command, **settings)
        assert code == 0, out + err
    with hot_standby(primary, open_folder / "standby") as url:
        yield Standby(settings | {"DATABASE_URL": url}, open_folder)


@pytest.fixture
def small_standby(open_folder: Path) -> Iterator[Standby]:
    """A standby of a database without a row, and no vector store."""
    settings = {"EMBEDDED_POSTGRES_DIR": str(open_folder / "pg"), "QDRANT_PATH": str(open_folder / "qdrant")}
    primary = server.ensure_running(open_folder / "pg", durable=False)
    assert manage("migrate", "--verbosity", "0", **settings)[0] == 0
    with hot_standby(primary, open_folder / "standby") as url:
        yield Standby(settings | {"DATABASE_URL": url}, open_folder)


@pytest.mark.at_length
@pytest.mark.long
def test_standby__without_rows(small_standby: Standby) -> None:
    assert small_standby.run("schema_version", "--check")[::2] == (0, "")
    assert small_standby.run("baseline", "--plan")[::2] == (0, "")  # nothing to do
    check_that_it_is_refused(small_standby, ["rollback", "1", "--no-input"])
    check_that_it_is_refused(small_standby, ["loaddata", "demo"])


@pytest.mark.long
@pytest.mark.at_length
def test_standby(standby: Standby) -> None:
    """This is one test because the copy takes seconds."""
    for command in (
        ["schema_version", "--check"],
        ["search_profiles", "--user", USER],
        ["init_qdrant", "--check"],
        ["migrate", "--check"],
        ["erase_user", USER, "--hard", "--dry-run"],
    ):
        code, out, err = standby.run(*command)
        assert (code, err) == (0, ""), (command, out)
    for command in (
        ["erase_user", USER, "--soft", "--no-input"],
        ["erase_user", USER, "--hard", "--no-input"],
        ["anonymize_user", USER, "--no-input"],
        ["export_user", USER, "--output", "{files}/ann.zip"],  # the audit log cannot be written
        ["upsert_embeddings", "{files}/rows.jsonl", "--model", "m"],
        ["sync_qdrant", "--once"],
        ["verify_qdrant"],
        ["reindex_qdrant"],
        ["rollback", "1", "--no-input"],
        ["loaddata", "demo"],
        [
            "createsuperuser",
            "--no-input",
            "--email",
            "b@example.org",
            "--full_name",
            "B",
            "--date_of_birth",
            "1990-01-01",
            "--gender",
            "other",
        ],
    ):
        check_that_it_is_refused(standby, command)
    assert not (standby.files / "ann.zip").exists()


def check_that_it_is_refused(standby: Standby, command: list[str]) -> None:
    code, out, err = standby.run(*command)
    assert code == 2, (command, out, err)
    said = f" T{SAID[1:].strip()} Then run rollback again.\n" if command[0] == "rollback" else SAID
    assert err.endswith(said) and err.count("\n") == 1, (command, err)
    assert "example.org" not in err
