"""``migrate APP EARLIER`` and ``migrate APP zero`` make the same checks as ``rollback``."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.commands import migrate as django_migrate
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader

from findme.core.errors import UserFacingError
from findme.migrator.migrate import migrating, planned_undo
from findme.migrator.undo.guard import Consent
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.undoing import PERSON, VIDEO, Terminal
from tests.support.commands import refused
from tests.support.database import Database

NO_TERMINAL = "The standard input is not a terminal: nothing was undone. In a script, add --no-input."
SESSION = "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ('k', '', now())"


@pytest.mark.at_length
def test_migrate_zero__rows_and_no_terminal__drops_nothing(with_videos: Database) -> None:
    before = catalog(with_videos)
    code, out, err = with_videos.manage("migrate", "accounts", "zero")
    assert (code, err) == (2, f"{NO_TERMINAL}\n")
    assert out.splitlines() == [
        "to undo: accounts.0002_user_video",
        "to undo: videos.0001_initial",
        "to undo: admin.0003_logentry_add_action_flag_choices",
        "to undo: admin.0002_logentry_remove_auto_add",
        "to undo: admin.0001_initial",
        "to undo: accounts.0001_initial",
        *[line for line in out.splitlines() if line.startswith("to delete: ")],
    ]
    assert "to delete: table users (1 row)" in out.splitlines()
    assert catalog(with_videos) == before
    assert with_videos.query("SELECT email FROM users") == ["ann@example.org"]


def test_migrate_zero__everything_applied__no_input__drops_nothing(migrated: Database) -> None:
    migrated.execute(PERSON)
    before = catalog(migrated)
    assert refused("migrate", "accounts", "zero", interactive=False) == (
        "This would drop table users (1 row): nothing was undone. To drop it, add --force."
    )
    assert catalog(migrated) == before
    assert schema_version().is_current


@pytest.mark.parametrize("arguments", [("accounts", "0001"), ("videos", "zero")])
def test_migrate_back__no_input__names_every_loss_and_undoes_nothing(with_videos: Database, arguments: tuple[str, ...]) -> None:
    before = catalog(with_videos)
    lost = "table videos (1 row), column users.video_id (1 value)" if arguments[0] == "videos" else "column users.video_id (1 value)"
    assert refused("migrate", *arguments, interactive=False) == f"This would drop {lost}: nothing was undone. To drop it, add --force."
    assert catalog(with_videos) == before


def test_migrate_back__no_input__drops_what_is_empty(with_videos: Database) -> None:
    with_videos.execute("DELETE FROM videos")
    call_command("migrate", "videos", "zero", interactive=False, verbosity=0)
    assert not with_videos.has("videos")
    assert with_videos.query("SELECT email FROM users") == ["ann@example.org"]


def test_migrate_back__no_input_and_force__drops_what_is_not_empty(with_videos: Database) -> None:
    call_command("migrate", "videos", "zero", interactive=False, force=True, verbosity=0)
    assert not with_videos.has("videos")


@pytest.mark.parametrize(
    ("app", "row", "lost"), [("sessions", SESSION, "table django_session (1 row)"), ("auth", PERSON, "table users (1 row)")]
)
def test_migrate_zero__app_of_django__is_guarded_too(migrated: Database, app: str, row: str, lost: str) -> None:
    migrated.execute(row)
    before = catalog(migrated)
    assert refused("migrate", app, "zero", interactive=False) == f"This would drop {lost}: nothing was undone. To drop it, add --force."
    assert catalog(migrated) == before


def test_migrate_back__answer_yes__is_done(
    with_videos: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    call_command("migrate", "videos", "zero")
    printed = capsys.readouterr()
    assert printed.err == "Undo 2 migrations? [y/N] "
    assert printed.out.splitlines()[:4] == [
        "to undo: accounts.0002_user_video",
        "to undo: videos.0001_initial",
        "to delete: table videos (1 row)",
        "to delete: column users.video_id (1 value)",
    ]
    assert not with_videos.has("videos")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("no\n", "The answer was 'no', not y: nothing was undone."),
        ("", "There was no answer: nothing was undone. In a script, add --no-input."),
    ],
)
def test_migrate_back__answer_not_yes__is_not_done(with_videos: Database, monkeypatch: pytest.MonkeyPatch, typed: str, line: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert refused("migrate", "videos", "zero", verbosity=0) == line
    assert with_videos.query("SELECT count(*) FROM videos") == [1]


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")], ids=["closed", "a file"])
def test_migrate_back__from_python_without_a_terminal__is_refused(
    with_videos: Database, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    assert refused("migrate", "videos", "zero") == NO_TERMINAL
    assert with_videos.query("SELECT count(*) FROM videos") == [1]


def test_migrate_back__written_between_the_question_and_the_answer__is_not_dropped(
    with_videos: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog(with_videos)
    monkeypatch.setattr("sys.stdin", Terminal("y\n", lambda: with_videos.execute(VIDEO)))
    assert refused("migrate", "videos", "zero") == "This would now drop table videos (2 rows): nothing was undone. To drop it, add --force."
    assert catalog(with_videos) == before


def test_migrate_back__row_written_between_check_and_drop__is_refused(with_videos: Database) -> None:
    with_videos.execute("DELETE FROM videos")

    def writes(migration: str) -> None:
        if migration == "accounts.0002_user_video":
            with_videos.execute(VIDEO)

    def goes_back() -> None:
        with migrating(consent=Consent(planned_undo("videos", "zero").migrations)) as run:
            run.on_done = writes
            call_command(django_migrate.Command(), "videos", "zero", verbosity=0)

    with pytest.raises(
        UserFacingError,
        match=r"^New data was written to table videos \(1 row\) after the check: it was not dropped. To drop it too, add --force\.",
    ):
        goes_back()
    assert with_videos.query("SELECT count(*) FROM videos") == [1]


def test_migrate_back__it_would_have_gone_forward_when_it_was_planned__is_refused(migrated: Database) -> None:
    """Another process has applied migrations since the plan was made. The plan had nothing to undo."""
    with (
        pytest.raises(
            UserFacingError, match=r"^Other migrations were applied or undone .*: nothing was undone\. See the new plan: migrate --plan\.$"
        ),
        migrating(consent=Consent(())),
    ):
        call_command(django_migrate.Command(), "accounts", "0001", verbosity=0)
    assert schema_version().is_current


def test_migrate_back__steps__asks_about_those_only(with_videos: Database) -> None:
    assert refused("migrate", "videos", "zero", steps=1, interactive=False) == (
        "This would drop column users.video_id (1 value): nothing was undone. To drop it, add --force."
    )
    call_command("migrate", "videos", "zero", steps=1, interactive=False, force=True, verbosity=0)
    assert {"videos.0001_initial", "accounts.0002_user_video"} & set(schema_version().unapplied) == {"accounts.0002_user_video"}
    assert with_videos.query("SELECT count(*) FROM videos") == [1]


@pytest.mark.parametrize("steps", [None, 2])
def test_migrate_back__plan__says_what_would_be_lost(with_videos: Database, capsys: pytest.CaptureFixture[str], steps: int | None) -> None:
    before = catalog(with_videos)
    call_command("migrate", "videos", "zero", plan=True, steps=steps)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "to delete: table videos (1 row)",
        "to delete: column users.video_id (1 value)",
    ]
    assert catalog(with_videos) == before


def test_migrate_back__fake__drops_nothing_and_asks_nothing(with_videos: Database) -> None:
    before = catalog(with_videos)
    call_command("migrate", "videos", "zero", fake=True, verbosity=0)
    assert schema_version().unapplied[0] == "videos.0001_initial"
    assert catalog(with_videos) == before


def test_migrate_back__no_reverse__is_refused_before_anything_is_done(with_videos: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = type(MigrationLoader(connection).graph.nodes["videos", "0001_initial"])
    monkeypatch.setattr(first, "operations", [*first.operations, migrations.RunSQL("SELECT 1")])
    assert refused("migrate", "videos", "zero", interactive=False, force=True) == (
        "videos.0001_initial is not reversible: nothing was undone. Restore a backup, or write a new migration that fixes it."
    )
    assert "accounts.0002_user_video" not in schema_version().unapplied


def test_migrate__a_later_migration_by_name__asks_nothing(with_videos: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    call_command("migrate", "accounts", "0003", verbosity=0)
    assert "accounts.0003_on_delete" not in schema_version().unapplied


@pytest.mark.parametrize(("app", "name"), [("films", "zero"), ("accounts", "0999"), ("accounts", "000")])
def test_migrate__no_such_migration__is_djangos_refusal(with_videos: Database, app: str, name: str) -> None:
    assert "nothing was undone" not in refused("migrate", app, name)
