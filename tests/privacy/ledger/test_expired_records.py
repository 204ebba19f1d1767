"""Rows of the audit log and of the ledger go only by one function of the database, and only after their retention."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.db import Error, connection, transaction
from django.utils import timezone

from findme.environment import BASE_DIR
from privacy import audit
from privacy.ledger.expiry import expire
from privacy.models import AuditEntry, LedgerCheckpoint, LedgerEntry
from privacy.models.expired_records import delete_expired_records
from tests.privacy.ledger.aged import YEARS, add_entries
from tests.support.database import Database, database_parameters, role

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger")]

SQL = BASE_DIR / "privacy" / "migrations" / "sql" / "0012_ledger_checkpoints.up.sql"


@pytest.fixture(autouse=True)
def old_rows(ledger: object) -> None:
    """Add a row to each table that is older than its retention."""
    AuditEntry.objects.create(
        action="export",
        target_id=uuid4(),
        actor_id=uuid4(),
        outcome="done",
        recorded_at=timezone.now() - audit.RETENTION - timedelta(days=1),
    )
    add_entries(1, YEARS)


def rows() -> tuple[int, int]:
    return AuditEntry.objects.count(), LedgerEntry.objects.count()


@pytest.mark.parametrize("session_role", ["origin", "replica"])
@pytest.mark.parametrize("table", ["audit_log", "erasure_ledger"])
def test_delete__of_an_old_row_by_the_owner__is_refused(table: str, session_role: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {session_role}")
        with pytest.raises(Error, match=r"is append-only: DELETE is refused\. Only delete_expired_records\(\) deletes rows"):
            cursor.execute(f"DELETE FROM {table}")
    assert rows() == (1, 1)


def test_delete__by_a_role_with_its_own_function__is_refused() -> None:
    """The name in the context is not enough: the function must run as the owner of the table."""
    with role() as (name, password), connection.cursor() as cursor:
        cursor.execute(f"GRANT ALL ON audit_log, erasure_ledger TO {name}; CREATE SCHEMA mine AUTHORIZATION {name}")
        with Database(database_parameters()["dbname"], name, password).connect() as session:
            for table in ("audit_log", "erasure_ledger"):
                session.execute(
                    f"CREATE FUNCTION mine.delete_expired_records({table}_of regclass) RETURNS void LANGUAGE plpgsql AS"
                    f" 'BEGIN DELETE FROM public.{table}; END'".encode()
                )
                with pytest.raises(psycopg.errors.RestrictViolation, match="DELETE is refused"):
                    session.execute("SELECT mine.delete_expired_records('audit_log')")
                with pytest.raises(psycopg.errors.RestrictViolation, match="DELETE is refused"):
                    session.execute(f"DELETE FROM {table}".encode())
                session.execute("DROP FUNCTION mine.delete_expired_records")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT public.delete_expired_records('audit_log')")
            session.execute("CREATE TABLE mine.audit_log (id int, recorded_at timestamptz)")
            cursor.execute(f"GRANT EXECUTE ON FUNCTION delete_expired_records(regclass) TO {name}")
            for table in ("mine.audit_log", "users", "pg_class"):
                with pytest.raises(psycopg.errors.InvalidParameterValue, match="have no retention, or the table has another owner"):
                    session.execute("SELECT public.delete_expired_records(%s::regclass)", [table])
            session.execute("CREATE TEMP TABLE erasure_ledger (position int); SET search_path = pg_temp, public")
            assert session.execute("SELECT public.delete_expired_records('public.audit_log')").fetchone() == (1,)
        cursor.execute(f"REVOKE ALL ON audit_log, erasure_ledger FROM {name}; REVOKE ALL ON FUNCTION delete_expired_records FROM {name}")
        cursor.execute("DROP SCHEMA mine CASCADE")
    assert rows() == (0, 1)


def test_function__deletes_only_old_rows_of_the_audit_log() -> None:
    young = AuditEntry.objects.create(action="export", target_id=uuid4(), actor_id=uuid4(), outcome="done")
    assert (delete_expired_records(AuditEntry), list(AuditEntry.objects.all())) == (1, [young])


def test_function__deletes_only_entries_of_the_ledger_before_a_checkpoint() -> None:
    assert (delete_expired_records(LedgerEntry), rows()[1]) == (0, 1)
    expire(audit.RETENTION.days)
    assert (LedgerCheckpoint.objects.count(), rows()[1]) == (1, 0)


def test_function__young_entries_before_a_checkpoint__stay() -> None:
    """A checkpoint whose retention is shorter than three years deletes nothing younger."""
    add_entries(1, 10)
    expire(5)
    assert list(LedgerEntry.objects.values_list("pk", flat=True)) == [2]


def test_function__many_rows__takes_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    old = timezone.now() - audit.RETENTION - timedelta(days=1)
    AuditEntry.objects.bulk_create(
        [AuditEntry(action="export", target_id=uuid4(), actor_id=uuid4(), outcome="done", recorded_at=old) for _ in range(10_001)]
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT delete_expired_records('audit_log')")
        assert cursor.fetchone() == (10_000,)
    assert delete_expired_records(AuditEntry) == 2


@pytest.mark.parametrize(
    "statement", ["UPDATE ledger_checkpoints SET position = 9", "DELETE FROM ledger_checkpoints", "TRUNCATE ledger_checkpoints"]
)
def test_checkpoints__are_append_only(statement: str) -> None:
    expire(audit.RETENTION.days)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        with pytest.raises(Error, match="The erasure ledger is append-only"):
            cursor.execute(statement)


@pytest.mark.parametrize("change", ["position = position + 1", "digest = sha256('x')", "last_recorded_at = now()"])
def test_checkpoints__of_no_entry__are_refused(change: str) -> None:
    add_entries(1, 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE forged AS SELECT 1::bigint AS position, digest, recorded_at AS last_recorded_at, 1 AS retention_days,"
            " now() AS created_at, sha256('k') AS key, sha256('a') || sha256('b') AS signature FROM erasure_ledger WHERE position = 1"
        )
        cursor.execute(f"UPDATE forged SET {change}")
        with pytest.raises(Error, match=r"The checkpoint \d is no entry of the erasure ledger after the last checkpoint"):
            cursor.execute("INSERT INTO ledger_checkpoints SELECT * FROM forged")
        cursor.execute("DROP TABLE forged")


@pytest.mark.parametrize("column", ["digest", "key", "signature"])
def test_checkpoints__take_no_address(column: str) -> None:
    size = 64 if column == "signature" else 32
    columns = {"digest": "digest", "key": "sha256('k')", "signature": "sha256('a') || sha256('b')"}
    columns[column] = f"convert_to(rpad('wilhelmina.quux@example.org', {size}), 'UTF8')"
    with connection.cursor() as cursor, pytest.raises(Error, match=f"ledger_checkpoints_{column}_check|is no entry of the erasure ledger"):
        cursor.execute(
            f"INSERT INTO ledger_checkpoints SELECT 1, {columns['digest']}, recorded_at, 1, now(), {columns['key']}, {columns['signature']}"
            " FROM erasure_ledger"
        )


def test_retention__equals_that_of_the_function() -> None:
    assert set(re.findall(r"interval ''(\d+) days''", SQL.read_text())) == {str(audit.RETENTION.days)}
