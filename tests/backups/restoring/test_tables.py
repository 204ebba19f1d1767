"""Rows that are missing come back: not those of users in the ledger, never over a newer row, and the same after any interruption."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import Settings

from accounts.models import User
from backups.postgresql.scratch import connection_to
from backups.restoring import tables as module
from backups.restoring.staged_rows import Reason, StagedRows
from backups.restoring.tables import TableResult, bring_back
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.erase import erase
from privacy.actions.pending import process_pending
from privacy.actions.undo_erasure import undo_erasures
from privacy.ledger.book import NewEntry
from privacy.ledger.entry import Kind
from privacy.ledger.publication import LedgerBehind, record_entries
from privacy.models import LedgerState
from tests.backups.restoring.two_databases import TABLES, Contents, contents, empty, insert
from tests.emptying import empty_the_tables
from tests.privacy.shelf import install_shelf
from tests.support.commands import environment
from tests.support.database import Database
from tests.support.processes import start_python
from tests.support.seeds import kill_seeds
from tests.support.threads import Running

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scratch(restored: tuple[Database, BaseDatabaseWrapper]) -> BaseDatabaseWrapper:
    return restored[1]


@pytest.fixture
def theirs(restored: tuple[Database, BaseDatabaseWrapper]) -> Iterator[psycopg.Connection[Any]]:
    """A session in the restored database, which is empty."""
    with restored[0].connect() as session:
        empty(session)
        yield session


@pytest.fixture
def ours() -> Iterator[psycopg.Connection[Any]]:
    """A session in the live database."""
    with Database(str(connection.settings_dict["NAME"])).connect() as session:
        yield session


def add_user(session: psycopg.Connection[Any], *, video: bool = False, **values: Any) -> UUID:
    user_id: UUID = values.setdefault("id", uuid4())
    assert insert(session, "users", email=f"{user_id}@x.example", **values)
    assert insert(session, "profile_embeddings", user_id=user_id)
    if video:
        assert insert(session, "videos", id=user_id, user_id=user_id)
        session.execute("UPDATE users SET video_id = id WHERE id = %s", [user_id])
    return user_id


def add_pair(session: psycopg.Connection[Any]) -> tuple[UUID, UUID]:
    """Add two users with videos, their match and its call, which has the same id."""
    one, other = add_user(session, video=True), add_user(session, video=True)
    assert insert(session, "matches", id=one, user_id=one, matched_user_id=other)
    assert insert(session, "video_calls", id=one, match_id=one, caller_id=other, callee_id=one, session_id=str(one))
    return one, other


def without_xmin(found: Contents) -> dict[str, Any]:
    return {
        table: {key: {name: value for name, value in row.items() if name != "xmin"} for key, row in rows.items()}
        for table, rows in found.rows.items()
    }


def by_table(results: list[TableResult]) -> dict[str, tuple[int, dict[Reason, int]]]:
    return {one.table: (one.brought_back, one.left_out) for one in results}


# --- What comes back -----------------------------------------------------------------------------------------------------------------


def test_bring_back__everything_was_lost__is_equal_and_queued(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    for _ in range(3):
        add_pair(theirs)
    done: list[tuple[int, int | None]] = []
    results = bring_back(scratch, connection, TABLES, report=lambda one, total=None: done.append((one, total)))
    assert [one.table for one in results] == ["users", "matches", "profile_embeddings", "videos", "video_calls"]
    assert {one.table: one.brought_back for one in results} == dict(zip(TABLES, (6, 6, 6, 3, 3), strict=True))
    assert without_xmin(contents(ours)) == without_xmin(contents(theirs))
    assert str(results[0]) == "users: 6 rows of 6 missing, 6 brought back."
    assert done[-1] == (24, 24)
    queued = {user_id for (user_id,) in ours.execute("SELECT user_id FROM vector_sync_queue").fetchall()}
    assert queued == contents(theirs)["users"].keys()
    assert ours.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'findme_staged%'").fetchone() == (0,)


def test_bring_back__user_without_the_videos__loses_the_reference(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    add_user(theirs, video=True)
    (result,) = bring_back(scratch, connection, ["users"])
    assert (result.brought_back, result.cleared) == (1, 1)
    assert str(result) == "users: 1 row of 1 missing, 1 brought back. 1 reference to rows that are gone cleared."


def test_bring_back__undone_erasure__comes_back(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back after ``DELETE FROM users`` by mistake."""
    install_shelf(monkeypatch)
    user_id = add_user(theirs)
    add_user(ours, id=user_id)
    ours.execute("DELETE FROM users")
    process_pending()
    assert by_table(bring_back(scratch, connection, ["users"])) == {"users": (0, {Reason.IN_LEDGER: 1})}
    undo_erasures([user_id])
    process_pending()
    assert by_table(bring_back(scratch, connection, ["users", "profile_embeddings"])) == {
        "users": (1, {}),
        "profile_embeddings": (1, {}),
    }


# --- What stays out ------------------------------------------------------------------------------------------------------------------


def test_bring_back__user_in_the_ledger__takes_everything_along(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    one, _ = add_pair(theirs)
    record_entries([NewEntry(Kind.ERASE, one)])
    in_ledger = {Reason.IN_LEDGER: 1}
    assert by_table(bring_back(scratch, connection, TABLES)) == {
        "users": (1, in_ledger),
        "profile_embeddings": (1, in_ledger),
        "videos": (1, in_ledger),
        "matches": (0, in_ledger),
        "video_calls": (0, in_ledger),
    }


def test_bring_back__users_are_not_named__rows_without_a_user_stay_out(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    one, other = add_pair(theirs)
    add_user(ours, id=one)
    gone = {Reason.WITHOUT_REFERENCE: 1}
    results = bring_back(scratch, connection, ["videos", "matches", "video_calls"])
    assert by_table(results) == {"videos": (1, gone), "matches": (0, gone), "video_calls": (0, gone)}
    assert str(results[1]) == "videos: 2 rows of 2 missing, 1 brought back. Left out: 1 that refer to rows which are gone."
    assert other not in contents(ours)["videos"]


def test_bring_back__call_of_a_match_that_has_other_users__stays_out(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    one, other = add_pair(theirs)
    for user_id in (one, other):
        add_user(ours, id=user_id)
    assert insert(ours, "matches", id=one, user_id=add_user(ours), matched_user_id=one)
    for dry_run in (True, False):
        assert by_table(bring_back(scratch, connection, ["video_calls"], dry_run=dry_run)) == {
            "video_calls": (0, {Reason.WITHOUT_REFERENCE: 1})
        }


def test_bring_back__row_that_breaks_a_new_rule__stays_out(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    user_id = add_user(theirs, video=True)
    add_user(ours, id=user_id)
    ours.execute("ALTER TABLE videos ADD CONSTRAINT longer CHECK (duration > 50) NOT VALID")
    try:
        for dry_run in (True, False):
            assert by_table(bring_back(scratch, connection, ["videos"], dry_run=dry_run)) == {"videos": (0, {Reason.INVALID: 1})}
    finally:
        ours.execute("ALTER TABLE videos DROP CONSTRAINT longer")


def test_bring_back__trigger_of_another_program_refuses__one_line(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    add_user(theirs)
    ours.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE check_violation USING CONSTRAINT = 'own_rule', MESSAGE = 'no ' || NEW.email; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    try:
        with pytest.raises(UserFacingError, match=r"^The database rejects rows of 'users' by 'own_rule': .*\.$") as raised:
            bring_back(scratch, connection, ["users"])
    finally:
        ours.execute("DROP TRIGGER refuse ON users; DROP FUNCTION refuse")
    assert "@" not in str(raised.value)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (["user"], "There is no table 'user' .* Did you mean 'users'?"),
        (["audit_log"], "The rows of 'audit_log' cannot be brought back: it proves what was done in one database. Nothing was changed."),
        (["users", "users_groups"], "The rows of 'users_groups' cannot be brought back: one can be a permission that was revoked"),
        (["django_admin_log"], "The rows of 'django_admin_log' cannot be brought back"),
        (["erased_users"], "Possible tables: matches, profile_embeddings, users, video_calls, videos."),
        (["django_migrations"], "FindMe does not know which users have rows in 'public.django_migrations'"),
    ],
)
def test_bring_back__other_tables__are_refused(scratch: BaseDatabaseWrapper, tables: list[str], message: str) -> None:
    with pytest.raises(UserFacingError, match=message):
        bring_back(scratch, connection, tables)


def test_bring_back__other_columns__are_refused(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    ours.execute("ALTER TABLE videos ADD height int")
    try:
        with pytest.raises(UserFacingError, match="The table 'videos' has another column height in the backup: nothing was changed"):
            bring_back(scratch, connection, ["users", "videos"])
    finally:
        ours.execute("ALTER TABLE videos DROP height")
    theirs.execute("ALTER TABLE videos RENAME TO films")
    try:
        with pytest.raises(UserFacingError, match=r"The backup has no table 'public\.videos': nothing was changed"):
            bring_back(scratch, connection, ["users", "videos"])
    finally:
        theirs.execute("ALTER TABLE films RENAME TO videos")


# --- The ledger outside --------------------------------------------------------------------------------------------------------------


def test_bring_back__database_is_behind_the_ledger__is_refused(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any]
) -> None:
    record_entries([NewEntry(Kind.ERASE, add_user(theirs))])
    empty_the_tables()  # only the ledger outside has the entry now
    with pytest.raises(LedgerBehind, match=r"Run manage\.py replay_erasures"):
        bring_back(scratch, connection, ["users"])
    LedgerState.objects.update_or_create(pk=1, defaults={"is_replaying": True})
    with pytest.raises(LedgerBehind, match="its replay has not ended"):
        bring_back(scratch, connection, ["users"], dry_run=True)
    assert not contents(ours)["users"]


def test_bring_back__ledger_is_unavailable__is_refused(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], settings: Settings
) -> None:
    add_user(theirs)
    settings.ERASURE_LEDGER_URL = "/nonexistent/ledger"
    with pytest.raises(StoreUnavailable):
        bring_back(scratch, connection, ["users"])
    assert not contents(ours)["users"]


# --- At the same time ----------------------------------------------------------------------------------------------------------------


def once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, action: Any) -> None:
    """Call ``action`` before the first call of the function."""
    original = getattr(owner, name)
    actions = [action]

    def call(*arguments: Any, **options: Any) -> Any:
        if actions:
            actions.pop()()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def test_bring_back__row_appears_meanwhile__wins(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    same, taken, lost = add_user(theirs), add_user(theirs), add_user(theirs)

    def write() -> None:
        add_user(ours, id=same, full_name="Newer")
        assert insert(ours, "users", id=uuid4(), email=f"{taken}@X.EXAMPLE")

    once(monkeypatch, StagedRows, "insert_into", write)
    results = bring_back(scratch, connection, ["users"])
    assert by_table(results) == {"users": (1, {Reason.TAKEN: 1})}
    assert results[0].present == 1
    after = contents(ours)["users"]
    assert (after[same]["full_name"], taken in after, lost in after) == ("Newer", False, True)


def test_bring_back__user_is_erased_meanwhile__is_not_brought_back(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure records its entry after the batch, and then deletes what the batch has brought back."""
    shelf = install_shelf(monkeypatch)
    user_id = add_user(theirs, video=True)
    add_user(ours, id=user_id)
    shelf.ids.add(user_id)
    begun: list[Running[Any]] = []
    once(monkeypatch, StagedRows, "insert_into", lambda: begun.append(Running(lambda: erase(user_id))))
    assert by_table(bring_back(scratch, connection, ["videos"])) == {"videos": (1, {})}
    begun[0].result()
    assert without_xmin(contents(ours)) == {table: {} for table in TABLES}
    assert by_table(bring_back(scratch, connection, ["users", "videos"])) == {
        "users": (0, {Reason.IN_LEDGER: 1}),
        "videos": (0, {Reason.IN_LEDGER: 1}),
    }


def test_bring_back__unknown_user_is_erased_meanwhile__is_not_brought_back(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has no row to lock. So the erasure waits for the batch by the lock of the ledger, sees the user and says so. Then it is repeated."""
    shelf = install_shelf(monkeypatch)
    user_id = add_user(theirs)
    shelf.ids.add(user_id)
    begun: list[Running[Any]] = []
    once(monkeypatch, module, "_in_ledger", lambda: begun.append(Running(lambda: erase(user_id))))
    bring_back(scratch, connection, ["users"])
    if begun[0].exception() is not None:
        assert "inserted again meanwhile" in str(begun[0].exception())
        assert User.objects.filter(pk=user_id).exists()
        erase(user_id)
    assert not User.objects.filter(pk=user_id).exists()
    assert by_table(bring_back(scratch, connection, ["users"])) == {"users": (0, {Reason.IN_LEDGER: 1})}


def test_bring_back__row_is_locked__says_so(
    scratch: BaseDatabaseWrapper, theirs: psycopg.Connection[Any], ours: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = add_user(theirs, video=True)
    add_user(ours, id=user_id)
    monkeypatch.setattr("privacy.actions.locking.LOCK_SECONDS", 0.01)
    with ours.transaction():
        ours.execute("SELECT FROM users FOR UPDATE")
        with pytest.raises(
            UserFacingError, match=r"Other transactions keep locks on rows of 'videos'.*Run the command again: it continues"
        ):
            bring_back(scratch, connection, ["videos"])
    assert by_table(bring_back(scratch, connection, ["videos"])) == {"videos": (1, {})}


def test_bring_back__two_at_once__bring_back_each_row_once(
    restored: tuple[Database, BaseDatabaseWrapper],
    theirs: psycopg.Connection[Any],
    ours: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(5):
        add_pair(theirs)
    monkeypatch.setattr(module, "BATCH_SIZE", 2)

    def run() -> list[TableResult]:
        with closing(connection_to(connection, restored[0].name)) as scratch:
            return bring_back(scratch, connection, TABLES)

    with Running(run) as first, Running(run) as second:
        found = [{one.table: one.brought_back for one in running.result()} for running in (first, second)]
    assert {table: found[0][table] + found[1][table] for table in TABLES} == dict(zip(TABLES, (10, 10, 10, 5, 5), strict=True))
    assert without_xmin(contents(ours)) == without_xmin(contents(theirs))


# --- Killed --------------------------------------------------------------------------------------------------------------------------

KILLED = """
import sys
from contextlib import closing
from django.db import connection, transaction
from backups.postgresql.scratch import connection_to
from backups.restoring import tables
from backups.restoring.staged_rows import StagedRows
from tests.backups.restoring.two_databases import TABLES
from tests.support.killing import kill_at_call

scratch, nth = sys.argv[1], int(sys.argv[2])
tables.BATCH_SIZE = 2
moments = [(StagedRows, name) for name in ("load", "mark_rules", "insert_into", "drop")]
kill_at_call([*moments, (tables, "check_deferred_constraints"), (transaction.Atomic, "__exit__"), (tables, "compare_with_outside")], nth)
with closing(connection_to(connection, scratch)) as restored:
    tables.bring_back(restored, connection, TABLES)
"""


@pytest.mark.parametrize("seed", kill_seeds(1))
def test_bring_back__killed__the_next_run_ends_in_the_same_state(
    restored: tuple[Database, BaseDatabaseWrapper],
    scratch: BaseDatabaseWrapper,
    theirs: psycopg.Connection[Any],
    ours: psycopg.Connection[Any],
    seed: int,
) -> None:
    for _ in range(3):
        add_pair(theirs)
    one, _ = add_pair(theirs)
    record_entries([NewEntry(Kind.ERASE, one)])
    script = f"import django\ndjango.setup()\n{KILLED}"
    process = start_python(environment(), "-c", script, restored[0].name, 3 + 7 * seed % 100)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (-signal.SIGKILL, "")
    # The server ends the session of the killed process, and so its locks, a moment later: the next run waits for them.
    results = {found.table: found for found in bring_back(scratch, connection, TABLES)}
    expected = contents(theirs)
    for table in TABLES:
        expected[table].pop(one, None)
    assert without_xmin(contents(ours)) == without_xmin(expected)
    assert {table: found.left_out for table, found in results.items()} == {table: {Reason.IN_LEDGER: 1} for table in TABLES}
