"""The switch: both stores at once, also for clients that connect all the time."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from backups.postgresql.cluster import describe_database
from backups.postgresql.cluster_statements import statements
from backups.restoring import switch as switching
from backups.restoring.journal import Journal
from backups.restoring.switch import switch
from tests.backups.restoring.checks import (
    AFTER,
    SERVER,
    comment,
    names,
    old_names,
    service,
    text,
)
from tests.backups.restoring.stores import NEW, OLD, Qdrant, Service, connection_of, start_restore
from tests.docs.pages import blocks, page, sections
from tests.support.database import Database, role
from tests.support.pgbouncer import PORT, PROGRAM, pgbouncer
from tests.support.waiting import wait_until


def test_switch__the_restored_stores_serve_and_the_old_database_stays(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    SERVER.execute(f"COMMENT ON DATABASE {live.name} IS 'of the operator'")
    start_restore(journal, live, scratch.name)
    session = connection_of(live)
    session.ensure_connection()
    old = switch(journal, session, qdrant)
    assert service(live, qdrant) == AFTER
    assert qdrant.is_complete()
    assert (names(scratch.name), old_names(live), qdrant.collections()) == ([], [old], [OLD, NEW])
    assert not journal.path.exists()
    assert comment(live.name) == "of the operator"
    assert (comment(old or "") or "").startswith(f'FindMe restore: it was "{live.name}" until 20')
    with closing(session), session.cursor() as cursor:
        cursor.execute("SELECT text FROM served")
        assert cursor.fetchone() == ("restored",)


def test_switch__the_old_database_accepts_no_connections(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    """A worker that still had its name would write to the collection of the restored one."""
    start_restore(journal, live, scratch.name)
    old = switch(journal, connection_of(live), qdrant)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        Database(old or "").query("SELECT 1")


def test_switch__to_an_empty_server(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    SERVER.execute(f"DROP DATABASE {live.name}")
    qdrant.fill(alias=None)
    start_restore(journal, live, scratch.name)
    journal.note(old_collection=None)
    assert switch(journal, connection_of(live), qdrant) is None
    assert service(live, qdrant) == AFTER
    assert old_names(live) == []
    assert comment(live.name) is None


def test_switch__without_a_collection__leaves_qdrant(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    start_restore(journal, live, scratch.name)
    journal.note(alias=None, new_collection=None)
    switch(journal, connection_of(live), qdrant)
    assert service(live, qdrant) == Service("restored", OLD)
    assert qdrant.is_complete()


def test_switch__owner_grants_and_settings_follow_the_database(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    """They can be given to the scratch database: PostgreSQL keeps them by its oid."""
    with role() as (owner, _), role() as (reader, _), removed_grants(live, reader):
        for statement in (
            f"ALTER DATABASE {live.name} OWNER TO {owner}",
            f"ALTER DATABASE {live.name} CONNECTION LIMIT 50",
            f"ALTER DATABASE {live.name} SET work_mem TO '8MB'",
            f'ALTER ROLE {reader} IN DATABASE {live.name} SET search_path TO "a b", public',
            f"GRANT CREATE ON DATABASE {live.name} TO {reader} WITH GRANT OPTION",
            f"REVOKE CONNECT ON DATABASE {live.name} FROM PUBLIC",
        ):
            SERVER.execute(statement)
        wanted = describe(live)
        SERVER.execute("; ".join(statements(wanted, describe(scratch))))
        start_restore(journal, live, scratch.name)
        switch(journal, connection_of(live), qdrant)
        found = describe(live)
    assert statements(wanted, found) == []
    assert (found.owner, found.connection_limit, found.settings) == (owner, 50, wanted.settings)


@contextmanager
def removed_grants(live: Database, grantee: str) -> Iterator[None]:
    """Take both databases from the roles of the test after the block, so that these can be dropped."""
    try:
        yield
    finally:
        for name in (live.name, *old_names(live)):
            SERVER.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER; REVOKE ALL ON DATABASE {name} FROM {grantee}")


def describe(found: Database) -> Any:
    with closing(connection_of(found)) as session:
        return describe_database(session)


def test_switch__sessions_that_connect_all_the_time(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    """Each client sees the old database first and the restored one afterwards, never the old one again."""
    start_restore(journal, live, scratch.name)
    ended, seen = threading.Event(), [list[str]() for _ in range(4)]

    def client(texts: list[str]) -> None:
        while not ended.is_set():
            try:
                with live.connect() as session:
                    for _ in range(20):
                        texts += [row[0] for row in session.execute("SELECT text FROM served")]
            except psycopg.OperationalError:
                continue

    threads = [threading.Thread(target=client, args=(texts,)) for texts in seen]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(seen), "Each client has read")
        switch(journal, connection_of(live), qdrant)
        wait_until(lambda: all(texts[-1] == "restored" for texts in seen), "Each client has read the restored database")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    for texts in seen:
        assert texts == sorted(texts), "old, then restored"


def test_switch__a_transaction_that_is_open_ends_without_its_commit(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    start_restore(journal, live, scratch.name)
    with live.connect() as session:
        session.execute("BEGIN")
        session.execute("UPDATE served SET text = 'not committed'")
        old = switch(journal, connection_of(live), qdrant)
        with pytest.raises(psycopg.OperationalError):
            session.execute("COMMIT")
    SERVER.execute(f"ALTER DATABASE {old} ALLOW_CONNECTIONS true")
    assert text(Database(old or "")) == "old"


def test_switch__a_name_of_63_bytes__is_cut(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    name = "f" + "é" * 31
    SERVER.execute(f'ALTER DATABASE {live.name} RENAME TO "{name}"')
    long = Database(name)
    try:
        start_restore(journal, long, scratch.name)
        old = switch(journal, connection_of(long), qdrant) or ""
        assert len(old.encode()) <= 63
        assert old.startswith("f" + "é" * 19)
        assert text(long) == "restored"
        SERVER.execute(f'DROP DATABASE "{old}"')
    finally:
        SERVER.execute(f'ALTER DATABASE "{name}" RENAME TO {live.name}')


def test_switch__undone_by_hand_as_documented(live: Database, scratch: Database, journal: Journal, qdrant: Qdrant) -> None:
    looked_at, exchanged = blocks(sections(page("backups.md"))["The switch"], "sql")
    start_restore(journal, live, scratch.name)
    old = switch(journal, connection_of(live), qdrant) or ""
    assert live.name in SERVER.query(looked_at)
    by_hand = re.sub(r"findme_before_\w+", old, exchanged).replace("findme_restored", f"{live.name}_before_by_hand")
    for statement in re.sub(r"\bfindme\b", live.name, by_hand).splitlines():
        SERVER.execute(statement)
    assert text(live) == "old"


def test_free_name__another_restore_of_the_same_second(
    live: Database, scratch: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_restore(journal, live, scratch.name)
    taken = iter([True, True, False])
    monkeypatch.setattr(switching, "find", lambda _session, _name: next(taken) or None)
    name = switching._free_name(connection, journal.current())
    assert name is not None
    assert name.endswith("_3")


@pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer")
def test_switch__behind_a_pooler__its_next_session_is_of_the_restored_database(
    live: Database, scratch: Database, journal: Journal, qdrant: Qdrant
) -> None:
    with pgbouncer("session") as folder:
        through = connection_of(live)
        through.settings_dict |= {"HOST": folder, "PORT": str(PORT)}
        with closing(through), pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(through), "ensure_server", lambda _: None, raising=False)
            with through.cursor() as cursor:
                cursor.execute("SELECT text FROM served")
                assert cursor.fetchone() == ("old",)
            start_restore(journal, live, scratch.name)
            switch(journal, through, qdrant)

            def reads() -> Any:
                try:
                    with through.cursor() as cursor:
                        cursor.execute("SELECT text FROM served")
                        return cursor.fetchone()
                except OperationalError:
                    through.close()  # the pooler does not know yet that its session has ended
                    return None

            assert wait_until(reads) == ("restored",)
    assert service(live, qdrant) == AFTER
