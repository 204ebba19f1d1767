"""A command line is public: no secret of the settings is in one, of any process, while the commands of backups run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from backups.destinations.opening import open_destination
from tests.backups.postgresql.test_dump import command_lines
from tests.privacy.ledger.s3 import s3_bucket
from tests.support.commands import environment
from tests.support.database import Database, database_parameters, role, url_of
from tests.support.processes import ended, start_python
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SECRETS = {
    "QDRANT_API_KEY": "qdrant-key-not-shown",
    "AWS_SECRET_ACCESS_KEY": "bucket-secret-not-shown",
}


@contextmanager
def sampled() -> Iterator[set[str]]:
    """Yield the command lines of all processes, which a thread reads over and over during the block."""
    seen: set[str] = set()
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(0.002):
            seen.update(command_lines().values())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@pytest.mark.at_length
def test_commands__no_secret_in_a_command_line(embedded_qdrant: object) -> None:
    name = str(connection.settings_dict["NAME"])
    with s3_bucket() as bucket, role() as (user, password), sampled() as seen:
        place = f"{bucket}/backups"
        Database("postgres").execute(f"ALTER ROLE {user} SUPERUSER")
        stores = {"DATABASE_URL": url_of(database_parameters() | {"user": user, "password": password})}

        def run(*arguments: object) -> None:
            code, _, err = ended(start_python(environment() | SECRETS | stores, "manage.py", *arguments))
            assert code == 0, err
            assert not any(secret in err for secret in (password, *SECRETS.values()))

        def has_seen(program: str) -> bool:
            return any(f"{program}\0" in line and name in line for line in seen)

        def back_up_until_seen() -> bool:
            run("backup", place)
            return has_seen("pg_dump")

        # A short process can end between two samples.
        wait_until(back_up_until_seen, "pg_dump in the samples")
        newest = max(open_destination(place).names())
        run("verify_backup", f"{place}/{newest}", "--deep")
        run("list_backups", place)
        run("prune_backups", place, "--keep-daily", 1)
    assert not [line for line in seen if any(secret in line for secret in (password, *SECRETS.values()))]
