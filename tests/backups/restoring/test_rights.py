"""What prevents a switch is found before a restore starts, in one line with the statement that removes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg.conninfo import make_conninfo

from backups.restoring import maintenance
from backups.restoring.maintenance import maintenance_session
from backups.restoring.rights import in_use, require_rights
from backups.restoring.switch import switch
from findme.core.errors import UserFacingError
from tests.backups.restoring.stores import NEW, Qdrant, connection_of, start_restore
from tests.support.database import Database, role
from tests.support.pgbouncer import PORT, PROGRAM, pgbouncer
from tests.support.waiting import wait_until

SERVER = Database("postgres")


@pytest.fixture
def owner(live: Database) -> Iterator[str]:
    """The owner of the live database: a role that may create databases, and is no superuser."""
    with role() as (name, _):
        SERVER.execute(f"ALTER ROLE {name} CREATEDB")
        SERVER.execute(f"ALTER DATABASE {live.name} OWNER TO {name}")
        live.execute(f"ALTER TABLE served OWNER TO {name}")
        try:
            yield name
        finally:
            for found in SERVER.query(
                "SELECT datname FROM pg_database WHERE datname LIKE %s OR pg_get_userbyid(datdba) = %s", f"{live.name}%", name
            ):
                SERVER.execute(f"ALTER DATABASE {found} OWNER TO CURRENT_USER; ALTER DATABASE {found} ALLOW_CONNECTIONS true")
                Database(found).execute(f"DROP OWNED BY {name}")


@contextmanager
def connected_as(name: str, live: Database) -> Iterator[Any]:
    """Yield a connection of the role to the live database. It becomes the role after the login, which needs no password."""
    with closing(connection_of(live)) as session:
        session.settings_dict["OPTIONS"] = {**session.settings_dict["OPTIONS"], "options": f"-c role={name}"}
        yield session


@contextmanager
def connected_as_login(name: str, live: Database) -> Iterator[psycopg.Connection[Any]]:
    """Log in as the role: PostgreSQL shows the role of the login in pg_stat_activity."""
    with live.connect() as own:
        parameters = own.info.get_parameters() | {"user": name}
    with psycopg.connect(make_conninfo(**parameters), autocommit=True) as session:
        yield session


def refusal(name: str, live: Database, owner: str | None = None) -> str:
    with connected_as(name, live) as session, pytest.raises(UserFacingError) as raised:
        require_rights(session, live.name, owner)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_require_rights__a_superuser_and_an_owner_have_them(live: Database, owner: str) -> None:
    require_rights(connection_of(live), live.name)
    with connected_as(owner, live) as session:
        require_rights(session, live.name, owner)
        require_rights(session, "findme_does_not_exist")


def test_require_rights__an_owner_who_is_no_superuser_switches(
    live: Database, owner: str, scratch: Database, journal: Any, qdrant: Qdrant
) -> None:
    """The session to end is of the same role, as that of a worker."""
    SERVER.execute(f"ALTER DATABASE {scratch.name} OWNER TO {owner}")
    with connected_as(owner, live) as session, connected_as_login(owner, live):
        require_rights(session, live.name)
        start_restore(journal, live, scratch.name)
        switch(journal, session, qdrant)
        assert live.query("SELECT text FROM served") == ["restored"]
    assert qdrant.alias() == NEW


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "ALTER ROLE {role} NOCREATEDB",
            "The role '{role}' may not create databases: nothing was restored. Run as a superuser: ALTER ROLE \"{role}\" CREATEDB;",
        ),
        (
            "ALTER DATABASE {live} OWNER TO CURRENT_USER",
            "The role '{role}' does not own the database '{live}': nothing was restored. Run as a superuser: GRANT \"findme\" TO \"{role}\";",
        ),
    ],
    ids=["CREATEDB", "owner"],
)
def test_require_rights__a_right_is_missing(change: str, sentence: str, live: Database, owner: str) -> None:
    SERVER.execute(change.format(role=owner, live=live.name))
    assert refusal(owner, live) == sentence.format(role=owner, live=live.name)


def test_require_rights__the_owner_of_the_backup_is_another_role(live: Database, owner: str) -> None:
    assert refusal(owner, live, "findme") == (
        f"The role {owner!r} may not give a database to 'findme', its owner in the backup: nothing was restored."
        f' Run as a superuser: GRANT "findme" TO "{owner}";'
    )


def test_require_rights__a_superusers_session(live: Database, owner: str) -> None:
    with live.connect() as session:
        pid = session.info.backend_pid
        line = refusal(owner, live)
        assert line == (
            f"The role {owner!r} may not end the session {pid} of 'findme': nothing was restored. Run as a superuser: SELECT pg_terminate_backend({pid});"
        )
        # The session ends with the statement of the line.
        SERVER.execute(line.rpartition(": ")[2])
        wait_until(lambda: not SERVER.query("SELECT pid FROM pg_stat_activity WHERE pid = %s", pid))
    with connected_as(owner, live) as session:
        require_rights(session, live.name)


def test_require_rights__the_session_of_another_role(live: Database, owner: str) -> None:
    with role() as (other, _), connected_as_login(other, live) as session:
        pid = session.info.backend_pid
        line = refusal(owner, live)
        assert line == (
            f"The role {owner!r} may not end the session {pid} of {other!r}: nothing was restored."
            f' Run as a superuser: GRANT pg_signal_backend TO "{owner}";'
        )
        SERVER.execute(line.rpartition(": ")[2])
        with connected_as(owner, live) as session:
            require_rights(session, live.name)
    SERVER.execute(f"REVOKE pg_signal_backend FROM {owner}")


def test_switch__a_superusers_session_came_later__goes_back(
    live: Database, owner: str, scratch: Database, journal: Any, qdrant: Qdrant
) -> None:
    SERVER.execute(f"ALTER DATABASE {scratch.name} OWNER TO {owner}")
    start_restore(journal, live, scratch.name)
    with live.connect() as session, connected_as(owner, live) as restoring:
        with pytest.raises(UserFacingError) as raised:
            switch(journal, restoring, qdrant)
        assert str(raised.value).startswith(f"The role of DATABASE_URL may not end the session {session.info.backend_pid} of 'findme'")
        assert session.execute("SELECT text FROM served").fetchone() == ("old",)
    assert live.query("SELECT text FROM served") == ["old"]


def test_in_use__a_subscription(live: Database) -> None:
    live.execute(
        "CREATE SUBSCRIPTION \"from another\" CONNECTION 'host=/nonexistent' PUBLICATION one WITH (connect = false, slot_name = NONE)"
    )
    with maintenance_session(connection, live.name) as session:
        [line] = in_use(session, live.name)
    assert (
        line
        == f"The database {live.name!r} has a subscription 'from another': nothing was restored. Run in it: DROP SUBSCRIPTION \"from another\";"
    )
    live.execute(line.rpartition(": ")[2])


@pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer")
def test_require_rights__a_pooler_that_shares_sessions__is_refused(live: Database) -> None:
    with pgbouncer("transaction") as folder, closing(connection_of(live)) as through, pytest.MonkeyPatch.context() as patched:
        through.settings_dict |= {"HOST": folder, "PORT": str(PORT)}
        patched.setattr(type(through), "ensure_server", lambda _: None, raising=False)
        with pytest.raises(UserFacingError, match="A pooler gives each transaction another session"):
            require_rights(through, live.name)


@pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer")
def test_require_rights__a_pooler_with_another_name_for_the_database__is_refused(live: Database) -> None:
    """Without this a restore would take the name for one of a database that does not exist, and clients would never see it."""
    with pgbouncer("session", aliases={"alias_of_live": live.name}) as folder, closing(connection_of(Database("alias_of_live"))) as through:
        through.settings_dict |= {"HOST": folder, "PORT": str(PORT)}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(through), "ensure_server", lambda _: None, raising=False)
            with pytest.raises(UserFacingError) as raised:
                require_rights(through, "alias_of_live")
    assert str(raised.value) == (
        f"DATABASE_URL names the database 'alias_of_live', and a pooler leads to {live.name!r} or to another server: nothing was restored."
        " Connect DATABASE_URL directly to PostgreSQL."
    )


@pytest.mark.parametrize("found", ["template1", None])
def test_maintenance_session__without_the_database_postgres(found: str | None, live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE", ("findme_does_not_exist", found or "findme_neither"))
    if found:
        with maintenance_session(connection, live.name) as session:
            assert maintenance.rows(session, "SELECT current_database()") == [(found,)]
    else:
        with pytest.raises(UserFacingError) as raised, maintenance_session(connection, live.name):
            pytest.fail("opened")
        assert str(raised.value).startswith("No session in the database 'findme_does_not_exist' or 'findme_neither' is possible: ")
        assert "\n" not in str(raised.value)


def test_maintenance_session__is_never_in_the_live_database(live: Database) -> None:
    with maintenance_session(connection, "postgres") as session:
        assert maintenance.rows(session, "SELECT current_database()") == [("template1",)]
