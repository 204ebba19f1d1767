"""The roles of docs/security.md: each has only the rights for its work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from pytest_django import DjangoDbBlocker

from findme.environment import BASE_DIR
from tests.support.database import Database, database, role

NAMES = ("findme_owner", "findme_writer", "findme_reader", "findme_worker")
USER = """
    INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, verified)
    VALUES (%s, %s, 'secret', 'Ann', '1990-01-01', 'female', true)
"""


def security() -> str:
    return (BASE_DIR / "docs" / "security.md").read_text()


def documented() -> str:
    found = re.search(r"```sql\n(.*?)```", security(), re.DOTALL)
    assert found is not None
    return found[1]


class Roles:
    def __init__(self, database: Database, logins: dict[str, tuple[str, str]]) -> None:
        self.database, self.logins = database, logins

    def connect(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        return self.as_role(name).connect()

    def as_role(self, name: str) -> Database:
        return Database(self.database.name, *self.logins[name])


@pytest.fixture
def roles(django_db_blocker: DjangoDbBlocker) -> Iterator[Roles]:
    """Create a database whose owner is no superuser, migrate it as the owner, and grant the documented rights."""
    with django_db_blocker.unblock(), role() as owner, role() as writer, role() as reader, role() as worker:
        logins = dict(zip(NAMES, (owner, writer, reader, worker), strict=True))
        with database(owner=owner[0]) as made:
            made.execute(f"ALTER SCHEMA public OWNER TO {owner[0]}")
            found = Roles(made, logins)
            assert found.as_role("findme_owner").manage("migrate")[0] == 0
            statements = documented()
            for name, (login, _) in logins.items():
                statements = statements.replace(name, login)
            with found.connect("findme_owner") as session:
                session.execute(statements.encode())
            yield found


def refused(session: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        session.execute(statement.encode())


@pytest.mark.at_length
@pytest.mark.long
def test_roles__each_has_only_the_rights_for_its_work(roles: Roles, tmp_path: Path) -> None:
    ann, bob = uuid4(), uuid4()
    with roles.connect("findme_writer") as writer:
        writer.execute(USER, [ann, "ann@example.com"])
        writer.execute(USER, [bob, "bob@example.com"])
        writer.execute("INSERT INTO videos (user_id, storage_url, duration, file_size) VALUES (%s, 's3://a', 30, 1)", [ann])
        writer.execute("INSERT INTO profile_embeddings (user_id, vector) VALUES (%s, array_fill(0.1::real, ARRAY[512]))", [ann])
        writer.execute(
            "INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at) VALUES (%s, %s, 1, 2026, 1, now())",
            [ann, bob],
        )
        writer.execute("UPDATE users SET bio = 'a line' WHERE id = %s", [ann])
        for statement in (
            "SELECT password_hash FROM users",
            "UPDATE users SET is_superuser = true, is_staff = true",
            "UPDATE users SET password_hash = 'mine'",
            "UPDATE users SET last_login = now()",
            "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender, is_staff) VALUES ('x@example.com', '', 'X', '1990-01-01', 'other', true)",
            "SELECT * FROM erased_users",
            "DELETE FROM erased_users",
            "SELECT * FROM audit_log",
            "DELETE FROM audit_log",
            "INSERT INTO audit_log (actor_account, action, target_id, outcome) VALUES ('me', 'export', gen_random_uuid(), 'done')",
            "SELECT * FROM data_subject_requests",
            "DELETE FROM data_subject_requests",
            "SELECT * FROM request_recipients",
            "SELECT * FROM erasures",
            "SELECT * FROM erasure_steps",
            "SELECT * FROM holds",
            "SELECT * FROM exports",
            "SELECT * FROM vector_sync_queue",
            "INSERT INTO vector_sync_queue (user_id) SELECT id FROM users",
            "TRUNCATE users CASCADE",
            "ALTER TABLE users DISABLE TRIGGER USER",
            "SELECT vector_sync_notify()",
            "SELECT * FROM django_session",
            "CREATE TABLE public.mine (id int)",
        ):
            refused(writer, statement)
        writer.execute("DELETE FROM users WHERE id = %s", [bob])
        with pytest.raises(psycopg.errors.CheckViolation, match=f"User {bob} was anonymized or deleted for good"):
            writer.execute(USER, [bob, "bob@example.com"])

    with roles.connect("findme_reader") as reader:
        assert reader.execute("SELECT full_name FROM users").fetchall() == [("Ann",)]
        assert reader.execute("SELECT count(*) FROM profile_embeddings").fetchall() == [(1,)]
        for statement in (
            "SELECT email FROM users",
            "SELECT password_hash FROM users",
            "UPDATE users SET bio = ''",
            "DELETE FROM videos",
            "INSERT INTO videos (user_id, storage_url, duration, file_size) SELECT id, 's3://a', 30, 1 FROM users",
            "SELECT * FROM vector_sync_queue",
        ):
            refused(reader, statement)

    owner, worker = (roles.as_role(name) for name in ("findme_owner", "findme_worker"))
    environment = {"DEBUG": "on", "QDRANT_URL": "", "QDRANT_PATH": str(tmp_path / "qdrant")}
    assert owner.manage("init_qdrant", settings="findme.settings", **environment)[0] == 0
    code, out, err = worker.manage("sync_qdrant", "--once", settings="findme.settings", **environment)
    assert (code, err) == (0, ""), out + err
    assert out.splitlines()[-1] == "1 point written, 0 removed."
    with roles.connect("findme_worker") as session:
        for statement in (
            "SELECT email FROM users",
            "SELECT full_name FROM users",
            "UPDATE users SET bio = ''",
            "DELETE FROM profile_embeddings",
            "SELECT * FROM videos",
            "SELECT * FROM erased_users",
        ):
            refused(session, statement)


@pytest.mark.long
@pytest.mark.at_length
def test_roles__the_worker_may_run_each_command_of_a_worker(roles: Roles, tmp_path: Path) -> None:
    owner, worker = (roles.as_role(name) for name in ("findme_owner", "findme_worker"))
    environment = {"DEBUG": "on", "QDRANT_URL": "", "QDRANT_PATH": str(tmp_path / "qdrant")}
    assert owner.manage("init_qdrant", settings="findme.settings", **environment)[0] == 0
    for command in (["sync_qdrant", "--once"], ["verify_qdrant"], ["refresh_ages"]):
        assert worker.manage(*command, settings="findme.settings", **environment)[0] == 0, command


@pytest.mark.at_length
@pytest.mark.long
def test_audit_log__a_role_that_may_insert_cannot_set_the_time_or_change_an_entry(roles: Roles) -> None:
    login = roles.logins["findme_worker"][0]
    with roles.connect("findme_owner") as owner:
        owner.execute(f"GRANT INSERT, SELECT ON audit_log TO {login}".encode())
    with roles.connect("findme_worker") as worker:  # more rights than documented
        worker.execute(
            "INSERT INTO audit_log (recorded_at, actor_account, action, target_id, outcome)"
            " VALUES ('2001-01-01', 'me', 'export', gen_random_uuid(), 'done')"
        )
        assert worker.execute("SELECT recorded_at > now() - interval '1 hour' FROM audit_log").fetchall() == [(True,)]
        worker.commit()
    with roles.connect("findme_owner") as owner:
        owner.execute(f"REVOKE INSERT ON audit_log FROM {login}".encode())
        owner.execute(re.search(r"GRANT INSERT \([^)]*\) ON audit_log", security())[0].encode() + f" TO {login}".encode())  # type: ignore[index]
    with roles.connect("findme_worker") as worker:
        worker.execute(
            "INSERT INTO audit_log (actor_account, action, target_id, outcome) VALUES ('me', 'export', gen_random_uuid(), 'done')"
        )
        for column in ("id", "recorded_at"):
            refused(worker, f"INSERT INTO audit_log ({column}, actor_account, action, outcome) VALUES (DEFAULT, 'me', 'export', 'done')")
        for statement in ("UPDATE audit_log SET outcome = 'failed'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            refused(worker, statement)
        worker.commit()
    with roles.connect("findme_owner") as owner:  # the owner restores a backup
        owner.execute(
            "INSERT INTO audit_log (recorded_at, actor_account, action, target_id, outcome)"
            " VALUES ('2001-01-01', 'me', 'export', gen_random_uuid(), 'done')"
        )
        assert owner.execute("SELECT min(recorded_at)::date::text FROM audit_log").fetchall() == [("2001-01-01",)]
