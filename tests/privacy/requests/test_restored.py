"""Requests in a database that ``pg_restore`` filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.findme.migrator.test_triggers_restored import run
from tests.support.database import Database, database

REQUEST = (
    (
        "INSERT INTO data_subject_requests (kind, recorded_by_account, contact, received_on, first_due_on, due_on)"
        " VALUES ('rectification', 'ann', 'ann@example.com', '2026-03-02', '2026-04-02', '2026-04-02')"
    ),
    (
        "UPDATE data_subject_requests SET state = 'identified', identity_confirmed_on = '2026-03-03', identity_method = 'login',"
        " identity_confirmed_by_account = 'ann'"
    ),
    "UPDATE data_subject_requests SET state = 'approved', approved_at = '2026-03-04', approved_by_account = 'bob'",
    "INSERT INTO request_recipients (request_id, recipient) SELECT id, 'film-storage' FROM data_subject_requests",
    "UPDATE request_recipients SET informed_on = '2026-03-05'",
    "UPDATE data_subject_requests SET state = 'answered', closed_on = '2026-03-05'",
)
STATES = "SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgname LIKE '%_step_check'"
ROWS = "SELECT r.state || ' ' || p.recipient FROM data_subject_requests r JOIN request_recipients p ON p.request_id = r.id"
TABLES = ("--table=data_subject_requests", "--table=request_recipients")


@pytest.mark.at_length
@pytest.mark.long
def test_pg_restore__of_everything_and_of_the_tables_alone(migrated: Database, tmp_path: Path) -> None:
    """A full restore creates the triggers last. A restore of the data alone must disable them, because no request begins as answered."""
    for statement in REQUEST:
        migrated.execute(statement)
    file = tmp_path / "data.dump"
    run("pg_dump", migrated, "--format=custom", f"--file={file}")
    with database() as other:
        run("pg_restore", other, str(file))
        assert (other.query(ROWS), other.query(STATES)) == (["answered film-storage"], ["A"])
        other.execute("ALTER TABLE data_subject_requests DISABLE TRIGGER ALL; ALTER TABLE request_recipients DISABLE TRIGGER ALL")
        other.execute("DELETE FROM request_recipients; DELETE FROM data_subject_requests")
        other.execute("ALTER TABLE data_subject_requests ENABLE TRIGGER ALL; ALTER TABLE request_recipients ENABLE TRIGGER ALL")
        with pytest.raises(AssertionError, match="a new request is received, not answered"):
            run("pg_restore", other, "--data-only", *TABLES, str(file))
        run("pg_restore", other, "--data-only", "--disable-triggers", *TABLES, str(file))
        assert other.query(ROWS) == ["answered film-storage"]
