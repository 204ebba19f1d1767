"""The commands of docs/privacy.md leave no byte of an erased user in the files of PostgreSQL's tables."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from django.conf import settings

from findme.embedded import server
from tests.privacy.documented_purge import OF_AN_EMPTY_TABLE, contents, documented
from tests.support.database import Database
from tests.support.waiting import wait_until

USERS = """
    INSERT INTO users (email, password_hash, full_name, bio, date_of_birth, gender)
    SELECT format('%s-%s@example.com', n, '{word}'), '{word}', '{word}', 'I am {word}.', '1990-01-01', 'female' FROM generate_series(1, 50) AS n
"""


def files_with(word: str, database: Database) -> list[str]:
    """Return the relations whose files contain the word.

    PostgreSQL empties files before it deletes them, and may delete one during this call.
    """
    running = server.running(Path(settings.EMBEDDED_POSTGRES_DIR))
    assert running is not None
    (folder,) = database.query("SELECT 'base/' || oid FROM pg_database WHERE datname = current_database()")
    names = {path.name.partition(".")[0] for path in (running.folder / "data" / folder).iterdir() if word.encode() in contents(path)}
    return sorted(
        database.query("SELECT relname::text FROM pg_class WHERE pg_relation_filenode(oid)::text = ANY(%s)", list(names)) if names else []
    )


@pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="it reads the files of the embedded server")
@pytest.mark.parametrize("others", [0, 1])
def test_purge__as_documented__leaves_no_byte_in_the_files(others: int, migrated: Database) -> None:
    word = f"Jane{secrets.token_hex(12)}"
    migrated.execute(USERS.format(word=word))
    migrated.execute("ANALYZE users; CHECKPOINT")
    assert {"users", "pg_statistic"} <= set(files_with(word, migrated))
    migrated.execute(f"DELETE FROM users WHERE full_name = '{word}'")
    if others:
        migrated.execute(USERS.format(word="Another").replace("1, 50", "1, 1"))
    rebuild_tables, *rest = documented()
    wait_until(lambda: set(files_after(migrated, word, rebuild_tables, "CHECKPOINT")) <= {"pg_statistic"})
    if not others:
        assert files_with(word, migrated) == ["pg_statistic"]  # ANALYZE keeps the statistics of an empty table
        migrated.execute(OF_AN_EMPTY_TABLE)
    wait_until(lambda: files_after(migrated, word, *rest) == [])


def files_after(database: Database, word: str, *statements: str) -> list[str]:
    """Run the statements and return the relations that still contain the word.

    VACUUM keeps rows that another session may still see, for example autovacuum. Then it must run again.
    A second ANALYZE can clear the old statistics by the way: PostgreSQL removes dead rows of a page that it reads.
    """
    for statement in statements:
        database.execute(statement)
    return files_with(word, database)
