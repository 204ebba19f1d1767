"""The command ``baseline``: its plan changes nothing, and it takes over the tables only if no row breaks a rule."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from findme.migrator.baseline import fixes
from findme.migrator.baseline.inspection import Report
from findme.migrator.lock import migration_lock
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.undoing import Terminal
from tests.schema.rows import ANN, BOB, insert
from tests.support.commands import exit_code, outcome, refused
from tests.support.database import Database, use_database
from tests.support.threads import held_in_thread

pytestmark = pytest.mark.usefixtures("read_once")

STATE = """
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT t.xmin || ' ' || t.ctid || ' ' || t::text AS line FROM users t
        UNION ALL SELECT c.xmin || ' ' || c::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT c.xmin || ' ' || c::text FROM pg_constraint c
        UNION ALL SELECT c.xmin || ' ' || c::text FROM pg_proc c WHERE pronamespace = 'public'::regnamespace
    ) AS lines
"""


def add_users() -> None:
    for key, name in ((ANN, "ann"), (BOB, "bob")):
        insert("users", id=key, email=f"{name}@example.com")


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found.keys() == {field.name for field in fields(Report)}
    return found


# --- --plan -----------------------------------------------------------------------------------------------------------------------


def test_plan__clean_tables__exits_0_and_changes_nothing(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    add_users()
    before, state = catalog(empty_guide), empty_guide.query(STATE)
    assert exit_code("baseline", "--plan") == 0
    assert (catalog(empty_guide), empty_guide.query(STATE)) == (before, state)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "schema public, version 4 of golang-migrate",
        "table users: 2 rows",
        "table videos: 0 rows",
        "table matches: 0 rows",
        "table video_calls: 0 rows",
    ]
    assert lines[5] == "kept: table schema_migrations"
    assert all(line.startswith("would do: ") for line in lines[6:])
    assert len(lines) > 20


def test_plan__broken_rows__exits_1_and_shows_them(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    insert("users", id=ANN, verified=None)
    insert("users", id=BOB, email="x" * 90)
    insert("matches", user_id=ANN, matched_user_id=BOB, user_action="liked")
    state = empty_guide.query(STATE)
    assert outcome("baseline", "--plan") == (1, "")
    assert empty_guide.query(STATE) == state
    out = capsys.readouterr().out
    assert (
        f"broken: users.verified: 1 row ({ANN}). The column verified needs a value.\n  to see the rows: SELECT * FROM users WHERE verified IS NULL;\n"
        in out
    )
    assert "  to correct them: manage.py baseline --fix users.verified (Set verified to false, its default)\n" in out
    assert "An action must be accepted, rejected or empty.\n" in out


def test_plan__differences__exits_2_and_shows_them(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    empty_guide.execute("ALTER TABLE users ALTER COLUMN email TYPE text")
    assert refused("baseline", "--plan") == (
        "1 object differs from the guide: nothing was changed. Type the statements that were shown, then run manage.py baseline --plan again."
    )
    assert (
        "differs: column users.email: found type text, expected type character varying(255)."
        " To correct it: ALTER TABLE users ALTER COLUMN email TYPE character varying(255);\n"
    ) in capsys.readouterr().out


def test_plan__json(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    insert("users", id=ANN, verified=None)
    assert outcome("baseline", "--plan", "--json") == (1, "")
    found = report(capsys)
    assert (found["schema"], found["version"], found["adopted"]) == ("public", 4, False)
    assert found["broken"] == [
        {
            "name": "users.verified",
            "table": "users",
            "count": 1,
            "ids": [str(ANN)],
            "query": "SELECT * FROM users WHERE verified IS NULL;",
            "sentence": "The column verified needs a value.",
            "remedy": "Set verified to false, its default",
        }
    ]


def test_plan__with_fix__shows_what_would_be_changed(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    insert("users", id=ANN, verified=None)
    assert outcome("baseline", "--plan", "--fix", "users.verified") == (1, "")
    assert capsys.readouterr().out.endswith("would fix users.verified: 1 row. Set verified to false, its default.\n")
    assert empty_guide.query("SELECT count(*) FROM users WHERE verified IS NULL") == [1]


# --- --fix ------------------------------------------------------------------------------------------------------------------------


def test_fix__asks_and_corrects(empty_guide: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    insert("users", id=ANN, verified=None, active=None)
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert outcome("baseline", "--fix", "users.verified", "users.active") == (0, "")
    written = capsys.readouterr()
    assert "Change 1 row? [y/N] " in written.err
    assert "Each UPDATE of users fires: update_users_updated_at. A trigger for updated_at sets it to the current time.\n" in written.out
    assert "fixed users.verified: 1 row\nfixed users.active: 1 row\n" in written.out
    assert empty_guide.query("SELECT active AND NOT verified FROM users") == [True]


def test_fix__answer_is_no__changes_nothing(empty_guide: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    insert("users", id=ANN, verified=None)
    state = empty_guide.query(STATE)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert refused("baseline", "--fix", "users.verified") == "The answer was 'n', not y: nothing was changed."
    assert empty_guide.query(STATE) == state


def test_fix__rows_that_remain__exit_1(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    add_users()
    insert("matches", user_id=ANN, matched_user_id=BOB, user_action="liked")
    assert outcome("baseline", "--fix", "matches_user_action_check", "--no-input", "--json") == (1, "")
    found = report(capsys)
    assert found["fixed"] == {}


def test_fix__unknown_rule__is_refused(empty_guide: Database) -> None:
    assert refused("baseline", "--fix", "nothing", "--no-input").startswith("'nothing' is not a rule of these tables: nothing was changed.")


@pytest.mark.parametrize("state", ["clear", "different", "adopted"])
def test_plan__unknown_rule__is_refused(state: str, empty_guide: Database, migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    if state == "different":
        empty_guide.execute("ALTER TABLE users DROP COLUMN bio")
    with use_database(migrated if state == "adopted" else empty_guide):
        for arguments in (["--plan"], ["--no-input"]):
            reason = refused("baseline", *arguments, "--json", "--fix", "users.verified", "nothing")
            assert reason.startswith("'nothing' is not a rule ")
            assert report(capsys)["reason"] == reason


# --- --json with exit code 2 ------------------------------------------------------------------------------------------------------


def test_json__refused_before_the_tables_are_read__has_the_reason(empty: Database, capsys: pytest.CaptureFixture[str]) -> None:
    reason = refused("baseline", "--plan", "--json")
    found = report(capsys)
    assert reason.endswith("has no tables of the migration guide: nothing was changed. Run manage.py migrate.")
    assert (found["reason"], found["schema"], found["tables"]) == (reason, None, {})


def test_json__broken_rows__has_the_rules_and_the_reason(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    insert("users", id=ANN, verified=None)
    reason = refused("baseline", "--no-input", "--json")
    found = report(capsys)
    assert (found["reason"], found["steps"]) == (reason, [])
    assert [one["name"] for one in found["broken"]] == ["users.verified"]


def test_json__another_process_holds_the_lock__has_the_reason(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with held_in_thread(migration_lock("backup")):
        reason = refused("baseline", "--no-input", "--json", wait_seconds=0)
    assert reason.startswith("The migration lock was not free within 0 s")
    assert report(capsys)["reason"] == reason


def test_json__conversion_fails__has_the_steps_that_are_done(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with empty_guide.connect() as writer:
        writer.execute("BEGIN; LOCK TABLE matches IN ROW EXCLUSIVE MODE")
        reason = refused("baseline", "--no-input", "--json", table_lock_seconds=0.05, attempts=1)
    found = report(capsys)
    assert found["reason"] == reason
    assert reason.startswith("matches: ")
    assert [step.split(":")[0] for step in found["steps"]] == ["users", "videos"]
    assert (found["adopted"], found["migrations"]) == (False, [])


def test_json__fix_fails__has_the_rows_that_are_changed(
    empty_guide: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixes, "BATCH", 1)
    insert("users", id=ANN, verified=None)
    insert("users", id=BOB, verified=None)
    with empty_guide.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [BOB])
        reason = refused("baseline", "--fix", "users.verified", "--no-input", "--json", table_lock_seconds=0.05, attempts=1)
    found = report(capsys)
    assert (found["reason"], found["fixed"]) == (reason, {"users.verified": 1})


# --- Taking over ------------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_baseline__clean_tables__are_adopted_once(
    empty_guide: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_users()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert outcome("baseline") == (0, "")
    written = capsys.readouterr()
    assert "Adopt users (2 rows), videos (0 rows), matches (0 rows), video_calls (0 rows)? [y/N] " in written.err
    assert written.out.splitlines()[-1].startswith("Done. ")
    assert schema_version().is_current
    assert exit_code("baseline", "--no-input") == 0
    assert capsys.readouterr().out == "Nothing to do: the schema public is FindMe's. Run manage.py migrate for later migrations.\n"
    assert outcome("baseline", "--plan", "--json") == (0, "")
    assert report(capsys)["adopted"] is True
    empty_guide.execute("UPDATE schema_baseline SET completed_at = NULL")
    assert refused("migrate") == (
        "The tables of the migration guide are only partly converted: nothing was applied. Run manage.py baseline again."
    )
    assert outcome("baseline", "--no-input") == (0, "")
    assert outcome("migrate", "--plan") == (0, "")


def test_baseline__broken_rows__exits_2_and_changes_nothing(empty_guide: Database) -> None:
    insert("users", id=ANN, verified=None)
    before, state = catalog(empty_guide), empty_guide.query(STATE)
    assert refused("baseline", "--no-input") == (
        "Rows break 1 rule (users.verified): nothing was changed. See manage.py baseline --plan, and correct them by hand or with --fix RULE."
    )
    assert (catalog(empty_guide), empty_guide.query(STATE)) == (before, state)


def test_baseline__differences__exits_2_and_changes_nothing(empty_guide: Database, capsys: pytest.CaptureFixture[str]) -> None:
    empty_guide.execute("ALTER TABLE users DROP COLUMN bio")
    before = catalog(empty_guide)
    assert "1 object differs from the guide: nothing was changed." in refused("baseline", "--no-input", "--json")
    assert report(capsys)["differences"] != []
    assert catalog(empty_guide) == before


def test_baseline__without_a_terminal__is_refused(empty_guide: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert refused("baseline") == "The standard input is not a terminal: nothing was changed. In a script, add --no-input."
    assert not empty_guide.has("django_migrations")


def test_baseline__freshly_migrated__has_nothing_to_do(migrated: Database) -> None:
    for arguments in (["--plan"], ["--no-input"], ["--fix", "users.verified", "--no-input"], []):
        assert outcome("baseline", *arguments) == (0, "")


def test_baseline__no_tables__names_migrate(empty: Database) -> None:
    assert refused("baseline", "--plan").endswith("has no tables of the migration guide: nothing was changed. Run manage.py migrate.")


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["migrate", "--plan"], ["migrate", "--fake-initial"], ["migrate", "contenttypes"]], ids=" ".join
)
def test_migrate__database_of_the_guide__names_baseline(arguments: list[str], empty_guide: Database) -> None:
    before = catalog(empty_guide)
    assert refused(*arguments).endswith("If it is the migration guide's, run manage.py baseline --plan, then manage.py baseline.")
    assert catalog(empty_guide) == before


def test_migrate__fake__is_the_operators_decision(empty_guide: Database) -> None:
    call_command("migrate", "contenttypes", fake=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations")
        assert cursor.fetchone()[0] > 0
