"""Rows that break a rule are corrected by name, in batches, where there is one obvious remedy."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from findme.core.errors import UserFacingError
from findme.migrator.baseline import fixes
from findme.migrator.baseline.catalog import read_tables
from findme.migrator.baseline.fixes import Fixable, apply_fixes, choose_fixes, count_fixable, fired_triggers, remedies_of
from findme.migrator.baseline.inspection import Inspection, inspect
from findme.migrator.baseline.scratch import GUIDE_TABLES
from findme.migrator.migrate import running
from findme.migrator.timeouts import MigrationTimeouts
from tests.schema.rows import ANN, BOB, CEM, MATCH, UNUSED_ID, VIDEO, insert
from tests.schema.violations import NINE, TEN
from tests.support.database import Database
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("read_once")

PATIENT, SHORT = MigrationTimeouts(30, 5, 10), MigrationTimeouts(30, 0.05, 2)
OTHER_MATCH = "00000000-0000-4000-8000-0000000000ab"


@pytest.fixture
def found(empty_guide: Database) -> Inspection:
    for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
        insert("users", id=key, email=f"{name}@example.com")
    insert("matches", id=MATCH, user_id=ANN, matched_user_id=BOB, week_number=1, year=1999, created_at=TEN)
    insert("videos", id=VIDEO)
    return inspect(connection)


def fix(found: Inspection, name: str, timeouts: MigrationTimeouts = PATIENT, warnings: list[str] | None = None) -> int:
    return fix_together(found, [name], timeouts, warnings)[name]


def fix_together(
    found: Inspection, names: list[str], timeouts: MigrationTimeouts = PATIENT, warnings: list[str] | None = None
) -> dict[str, int]:
    chosen = choose_fixes(names, found.rules, found.remedies)
    with running("baseline", using="default", timeouts=timeouts, on_warning=(warnings if warnings is not None else []).append) as run:
        return apply_fixes(run, connection, chosen)


def broken() -> dict[str, int]:
    return {rule.name: rule.count for rule in inspect(connection).counted.broken}


MENDED: list[tuple[str, str, dict[str, Any], str]] = [
    ("users_video_id_fkey", "users", {"video_id": UNUSED_ID}, "video_id IS NULL"),
    ("users_video_id_fkey", "users", {"video_id": VIDEO}, "video_id IS NULL"),
    ("users.verified", "users", {"verified": None}, "NOT verified"),
    ("users.active", "users", {"active": None}, "active"),
    ("users.created_at", "users", {"created_at": None, "updated_at": NINE}, f"created_at = '{NINE}'"),
    ("users.created_at", "users", {"created_at": None, "updated_at": None}, "created_at > now() - interval '1 hour'"),
    ("users.updated_at", "users", {"updated_at": None}, "updated_at > now() - interval '1 hour'"),
    ("videos.metadata", "videos", {"metadata": None}, "metadata = '{}'"),
    ("video_calls.metadata", "video_calls", {"metadata": None}, "metadata = '{}'"),
    ("video_calls.created_at", "video_calls", {"created_at": None, "started_at": NINE}, f"created_at = '{NINE}'"),
    ("matches_user_action_check", "matches", {"user_action": ""}, "user_action IS NULL"),
    ("matches_user_action_check", "matches", {"user_action": " Accepted"}, "user_action = 'accepted'"),
    ("matches_matched_user_action_check", "matches", {"matched_user_action": "REJECTED"}, "matched_user_action = 'rejected'"),
]


@pytest.mark.at_length(every=3)
@pytest.mark.parametrize(("rule", "table", "values", "after"), MENDED, ids=[f"{rule}-{number}" for number, (rule, *_) in enumerate(MENDED)])
def test_fix__corrects_the_row_and_no_other(
    rule: str, table: str, values: dict[str, Any], after: str, found: Inspection, empty_guide: Database
) -> None:
    key = insert(table, **values)
    others = empty_guide.query(f"SELECT t::text FROM {table} t WHERE id <> %s ORDER BY id", key)
    assert rule in broken()
    assert fix(found, rule) == 1
    assert rule not in broken()
    assert empty_guide.query(f"SELECT {after} FROM {table} WHERE id = %s", key) == [True]
    assert empty_guide.query(f"SELECT t::text FROM {table} t WHERE id <> %s ORDER BY id", key) == others
    assert fix(found, rule) == 0


def test_fix__action_that_is_none__stays(found: Inspection) -> None:
    insert("matches", user_action="liked")
    insert("matches", user_action="")
    assert fix(found, "matches_user_action_check") == 1
    assert broken() == {"matches_user_action_check": 1}


@pytest.mark.parametrize("with_calls", [True, False])
def test_fix__mirrored_matches__keeps_the_one_with_calls_else_the_earliest(
    with_calls: bool, found: Inspection, empty_guide: Database
) -> None:
    insert("matches", id=OTHER_MATCH, user_id=BOB, matched_user_id=ANN, week_number=1, year=1999, created_at=NINE)
    if with_calls:
        insert("video_calls", match_id=MATCH)
    assert broken() == {"matches_pair_week_number_year_key": 2}
    assert fix(found, "matches_pair_week_number_year_key") == 1
    assert broken() == {}
    assert empty_guide.query("SELECT id::text FROM matches WHERE deleted_at IS NULL") == [str(MATCH) if with_calls else OTHER_MATCH]
    assert empty_guide.query("SELECT count(*) FROM video_calls") == [int(with_calls)]


def test_fix__mirrored_matches_without_the_table_of_calls__keeps_the_earliest(found: Inspection, empty_guide: Database) -> None:
    empty_guide.execute("DROP TABLE video_calls; UPDATE schema_migrations SET version = 3")
    insert("matches", user_id=BOB, matched_user_id=ANN, week_number=1, year=1999, created_at=NINE)
    assert fix(inspect(connection), "matches_pair_week_number_year_key") == 1
    assert empty_guide.query("SELECT id FROM matches WHERE deleted_at IS NOT NULL") == [MATCH]


NEW_ROWS = """
    ALTER TABLE users ADD CONSTRAINT baseline_users_verified_not_null CHECK (verified IS NOT NULL) NOT VALID,
        ADD CONSTRAINT baseline_users_active_not_null CHECK (active IS NOT NULL) NOT VALID
"""
"""What a conversion has added that was interrupted before it checked the existing rows."""


def test_fix__row_breaks_two_rules_that_new_rows_must_keep__corrects_both_at_once(found: Inspection, empty_guide: Database) -> None:
    both = insert("users", verified=None, active=None)
    insert("users", verified=None)
    empty_guide.execute(NEW_ROWS)
    chosen = choose_fixes(["users.verified", "users.active"], found.rules, found.remedies)
    assert count_fixable(connection, chosen) == Fixable(2, {"users.verified": 2, "users.active": 1})
    assert fix_together(found, ["users.verified", "users.active"]) == {"users.verified": 2, "users.active": 1}
    assert empty_guide.query("SELECT active AND NOT verified FROM users WHERE id = %s", both) == [True]
    assert broken() == {}


def test_fix__row_breaks_another_rule_that_new_rows_must_keep__names_it(found: Inspection, empty_guide: Database) -> None:
    insert("users", verified=None, active=None)
    empty_guide.execute(NEW_ROWS)
    with pytest.raises(UserFacingError) as refused:
        fix(found, "users.verified")
    assert str(refused.value) == (
        "users.verified: rows of users also break users.active, which new rows must keep. Earlier batches stay."
        " Add users.active to --fix, or correct them by hand: see manage.py baseline --plan."
    )
    assert broken() == {"users.verified": 1, "users.active": 1}


def test_fix__service_corrects_a_row_meanwhile__leaves_its_value(found: Inspection, empty_guide: Database) -> None:
    """The row is locked by the service. When it is free, it keeps the rule."""
    key = insert("users", verified=None)
    with empty_guide.connect() as service:
        service.execute("BEGIN")
        service.execute("UPDATE users SET verified = true WHERE id = %s", [key])
        timer = threading.Timer(0.3, lambda: service.execute("COMMIT"))
        timer.start()
        assert fix(found, "users.verified") == 0
        timer.join()
    assert empty_guide.query("SELECT verified FROM users WHERE id = %s", key) == [True]


def test_fix__many_rows__runs_in_batches_that_commit(found: Inspection, empty_guide: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixes, "BATCH", 2)
    for _ in range(5):
        insert("users", verified=None)
    seen: list[int] = []

    def stop_after_two(done: Fixable) -> None:
        seen.append(done.rows)
        if done.rows == 4:
            raise KeyboardInterrupt

    chosen = choose_fixes(["users.verified"], found.rules, found.remedies)
    with running("baseline", using="default", timeouts=PATIENT, on_warning=print) as run, pytest.raises(KeyboardInterrupt):
        apply_fixes(run, connection, chosen, stop_after_two)
    assert seen == [2, 4]
    assert empty_guide.query("SELECT count(*) FROM users WHERE verified IS NULL") == [1]
    assert fix(found, "users.verified") == 1


@pytest.mark.at_length
@pytest.mark.parametrize(("statement", "remaining"), [("SELECT id, ", 5), ("UPDATE users", 5)])
def test_fix__killed_in_the_second_batch__the_next_run_corrects_the_rest(
    statement: str, remaining: int, found: Inspection, empty_guide: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed after the statement, before its transaction ends."""
    monkeypatch.setattr(fixes, "BATCH", 2)
    for _ in range(7):
        insert("users", verified=None)
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            with connection.execute_wrapper(partial(kill_after, statement, iter((False, True)))):
                fix(found, "users.verified")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert empty_guide.query("SELECT count(*) FROM users WHERE verified IS NULL") == [remaining]
    assert fix(found, "users.verified") == remaining
    assert broken() == {}


def kill_after(statement: str, turns: Iterator[bool], execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
    result = execute(sql, *arguments)
    if sql.startswith(statement) and next(turns):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def test_fix__row_is_locked__is_tried_again_and_then_refused(found: Inspection, empty_guide: Database) -> None:
    key = insert("users", verified=None)
    warnings: list[str] = []
    with empty_guide.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("UPDATE users SET bio = 'x' WHERE id = %s", [key])
        with pytest.raises(UserFacingError, match=r"^users\.verified: canceling statement due to lock timeout .* Run it again\.$"):
            fix(found, "users.verified", SHORT, warnings)
        assert len(warnings) == 1
        timer = threading.Timer(0.3, lambda: writer.execute("COMMIT"))
        timer.start()
        assert fix(found, "users.verified") == 1
        timer.join()
    assert broken() == {}


def test_fix__service_holds_one_row_and_needs_another__does_not_fail(found: Inspection, empty_guide: Database) -> None:
    first, second = sorted(insert("users", verified=None) for _ in range(2))
    with empty_guide.connect() as service:
        service.execute("BEGIN")
        service.execute("UPDATE users SET bio = 'x' WHERE id = %s", [second])
        with in_thread(lambda: fix(found, "users.verified", MigrationTimeouts(30, 100, 100))) as fixing:
            wait_until(empty_guide.waits_for_a_lock)
            time.sleep(1.5)  # longer than deadlock_timeout, after which the service would be the one that finds the deadlock
            service.execute("UPDATE users SET bio = 'x' WHERE id = %s", [first])
            service.execute("COMMIT")
            assert fixing.result() == 2
    assert broken() == {}


def test_choose_fixes__unknown_rule__is_refused_with_the_list(found: Inspection) -> None:
    with pytest.raises(UserFacingError) as refused:
        choose_fixes(["users.verified", "users.verifed"], found.rules, found.remedies)
    assert str(refused.value).startswith(
        "'users.verifed' is not a rule of these tables: nothing was changed. Rules with a remedy: matches.created_at, "
    )


@pytest.mark.parametrize("name", ["idx_users_email_lower", "video_calls_ended_times_check", "matches_week_number_check", "videos.user_id"])
def test_choose_fixes__rule_without_a_remedy__shows_the_query(name: str, found: Inspection) -> None:
    with pytest.raises(UserFacingError) as refused:
        choose_fixes([name], found.rules, found.remedies)
    [rule] = [rule for rule in found.rules if rule.name == name]
    assert str(refused.value).endswith(f"Correct the rows by hand. To find them: {rule.query}")


def test_fired_triggers__are_named(found: Inspection, empty_guide: Database) -> None:
    empty_guide.execute("""
        CREATE TRIGGER own AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
        CREATE TRIGGER inserted AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
        CREATE TRIGGER off AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
        ALTER TABLE users DISABLE TRIGGER off;
    """)
    tables = read_tables(connection, "public", GUIDE_TABLES)
    chosen = choose_fixes(["users.verified", "users.active", "video_calls.metadata"], found.rules, found.remedies)
    assert dict(fired_triggers(chosen, tables)) == {"users": ["own", "update_users_updated_at"], "video_calls": []}
    assert count_fixable(connection, chosen[:2]) == Fixable(0, {"users.verified": 0, "users.active": 0})


def test_remedies__each_is_for_a_rule(found: Inspection) -> None:
    names = {rule.name for rule in found.rules}
    assert {remedy.rule for config in apps.get_app_configs() for remedy in getattr(config, "remedies", ())} <= names
    assert remedies_of(found.recognized.tables).keys() <= names
