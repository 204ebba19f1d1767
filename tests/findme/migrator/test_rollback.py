from __future__ import annotations

import io
import json

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from findme.migrator.lock import migration_lock
from findme.migrator.migrate import apply_migrations
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.data_loss import DataLoss, count, dropped_by
from findme.migrator.undo.plan import plan_rollback
from findme.migrator.undo.rollback import roll_back
from findme.migrator.version import schema_version
from tests.findme.migrator.catalog import catalog
from tests.findme.migrator.undoing import PERSON, VIDEO, Terminal, up_to
from tests.support.database import Database

# --- Undone migrations ------------------------------------------------------------------------------------------------------------


def test_rollback__the_last_one__is_undone_whatever_app_it_is_in(migrated: Database) -> None:
    history = [applied.description for applied in schema_version().history]
    done = roll_back(plan_rollback())
    assert done.migrations == (history[-1],)
    assert done.version == migrated.version() == len(history) - 1
    assert schema_version().unapplied == (history[-1],)


def test_rollback__several__are_undone_in_the_reverse_order_of_their_application(empty: Database) -> None:
    call_command("migrate", "sessions", verbosity=0)
    call_command("migrate", "auth", "0001", verbosity=0)
    reported: list[str] = []
    done = roll_back(plan_rollback(3), on_undone=reported.append)
    assert (
        list(done.migrations)
        == reported
        == [
            "auth.0001_initial",
            "contenttypes.0001_initial",
            "sessions.0001_initial",
        ]
    )
    assert done.version == 1


def test_rollback__all__leaves_nothing_but_djangos_own_table(migrated: Database) -> None:
    call_command("rollback", all=True, no_input=True)
    assert migrated.query("SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')") == [
        "django_migrations"
    ]
    assert migrated.query("SELECT app FROM django_migrations") == []


def test_rollback__all__twice__the_second_has_nothing_to_undo(empty: Database, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("rollback", all=True)
    assert capsys.readouterr().out == "There is nothing to undo.\nversion 0\n"


def test_rollback__more_than_there_are__is_refused(empty: Database) -> None:
    apply_migrations(steps=2)
    with pytest.raises(
        UserFacingError, match=r"^3 migrations cannot be undone: 2 are applied\. To undo all, run manage\.py rollback --all\.$"
    ):
        plan_rollback(3)


@pytest.mark.parametrize("arguments", [("0",), ("-1",), ("all",), ("1", "--all")])
def test_rollback__no_number__is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"^Error: "):
        call_command("rollback", *arguments)


def test_rollback__then_migrate__is_the_same_schema(migrated: Database, template: Database) -> None:
    roll_back(plan_rollback(8), force=True)
    apply_migrations()
    assert catalog(migrated) == catalog(template)


# --- What goes with it ------------------------------------------------------------------------------------------------------------


def test_plan__names_the_tables_with_their_rows_and_the_columns_with_their_values(with_videos: Database) -> None:
    plan = plan_rollback(1)
    assert plan.migrations == ("accounts.0002_user_video",)
    assert plan.losses == (DataLoss("users", "video_id", 1),)
    plan = plan_rollback(2)
    assert plan.migrations == ("accounts.0002_user_video", "videos.0001_initial")
    assert plan.losses == (DataLoss("videos", None, 1), DataLoss("users", "video_id", 1))


def test_plan__a_generated_column_and_djangos_own_lists_of_models__are_no_loss(migrated: Database) -> None:
    lost = {loss.table: loss for loss in plan_rollback(None).losses}
    assert lost["auth_permission"].count > 0
    assert not any(loss.is_significant for loss in lost.values())
    assert str(lost["django_content_type"]) == f"table django_content_type ({ContentType.objects.count()} rows, created by migrate)"
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE boxes (side integer, area integer GENERATED ALWAYS AS (side * side) STORED); INSERT INTO boxes VALUES (3)"
        )
    assert count(connection, ("boxes", "area")) is None
    assert count(connection, ("boxes", "side")) == DataLoss("boxes", "side", 1)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ('DROP TABLE "users" CASCADE', [('"users"', None)]),
        ('drop table if exists a, public."B c" ; SELECT 1', [("a", None), ('public."B c"', None)]),
        ('ALTER TABLE "users" DROP COLUMN "video_id" CASCADE', [('"users"', '"video_id"')]),
        (
            "ALTER TABLE ONLY a ADD b integer, DROP COLUMN IF EXISTS c,\n DROP COLUMN d; ALTER TABLE e DROP CONSTRAINT f",
            [("a", "c"), ("a", "d")],
        ),
        ("DROP VIEW schema_version; DROP TRIGGER t ON users; DROP INDEX i", []),
    ],
)
def test_dropped_by__names_tables_and_columns(sql: str, names: list[tuple[str, str | None]]) -> None:
    assert list(dropped_by(sql)) == names


def test_plan__table_that_a_file_of_sql_drops__is_named(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    migrated.execute("CREATE TABLE queue (id integer); INSERT INTO queue VALUES (1)")
    last_migration_has(monkeypatch, migrations.SeparateDatabaseAndState([migrations.RunSQL("SELECT 1", "DROP TABLE queue")]))
    assert DataLoss("queue", None, 1) in plan_rollback(1).losses


def last_migration_has(monkeypatch: pytest.MonkeyPatch, operation: Operation) -> str:
    """Add an operation to the migration that was applied last."""
    name = schema_version().history[-1].description
    app, _, rest = name.partition(".")
    migration = type(MigrationLoader(connection).graph.nodes[app, rest])
    monkeypatch.setattr(migration, "operations", [*migration.operations, operation])
    return name


# --- Refusals ---------------------------------------------------------------------------------------------------------------------


def test_rollback__no_input__refuses_what_is_not_empty(with_videos: Database) -> None:
    before = catalog(with_videos)
    with pytest.raises(CommandError) as refused:
        call_command("rollback", "2", no_input=True)
    assert str(refused.value) == (
        "This would drop table videos (1 row), column users.video_id (1 value): nothing was undone. To drop it, add --force."
    )
    assert refused.value.returncode == 2
    assert catalog(with_videos) == before


def test_rollback__no_input__drops_what_is_empty(with_videos: Database) -> None:
    with_videos.execute("UPDATE users SET video_id = NULL")
    with_videos.execute("DELETE FROM videos")
    call_command("rollback", "2", no_input=True)
    assert {"videos.0001_initial", "accounts.0002_user_video"} <= set(schema_version().unapplied)
    assert with_videos.query("SELECT email FROM users") == ["ann@example.org"]


def test_rollback__force__drops_what_is_not_empty(with_videos: Database) -> None:
    call_command("rollback", "2", no_input=True, force=True)
    assert not with_videos.has("videos")


@pytest.mark.at_length
def test_rollback__row_written_between_check_and_drop__is_refused(with_videos: Database) -> None:
    with_videos.execute("DELETE FROM videos")

    def writes(migration: str) -> None:
        if migration == "accounts.0002_user_video":
            with_videos.execute(VIDEO)

    with pytest.raises(
        UserFacingError,
        match=r"^New data was written to table videos \(1 row\) after the check: it was not dropped. To drop it too, add --force\. 1 earlier migration stayed undone\.$",
    ):
        roll_back(plan_rollback(2), on_undone=writes)
    assert {"videos.0001_initial", "accounts.0002_user_video"} & set(schema_version().unapplied) == {"accounts.0002_user_video"}
    assert with_videos.query("SELECT count(*) FROM videos") == [1]


def test_rollback__no_reverse__is_refused_before_anything_is_done(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalog(migrated)
    name = last_migration_has(monkeypatch, migrations.SeparateDatabaseAndState([migrations.RunSQL("SELECT 1")]))
    with pytest.raises(UserFacingError) as refused:
        plan_rollback(None)
    assert str(refused.value) == f"{name} is not reversible: nothing was undone. Restore a backup, or write a new migration that fixes it."
    assert catalog(migrated) == before


def test_rollback__applied_by_a_later_release__is_refused(migrated: Database) -> None:
    migrated.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999_later', now())")
    with pytest.raises(
        UserFacingError,
        match=r"^accounts\.0999_later is applied but not in this code: nothing was undone\. Use the release that contains it\.$",
    ):
        plan_rollback(1)


def test_rollback__unknown_earlier_migration__does_not_matter(migrated: Database) -> None:
    last = schema_version().history[-1].description
    migrated.execute("INSERT INTO django_migrations (id, app, name, applied) VALUES (0, 'films', '0001_initial', now())")
    assert plan_rollback(1).migrations == (last,)


def test_rollback__recorded_out_of_order__is_refused(migrated: Database) -> None:
    migrated.execute("UPDATE django_migrations SET id = 999 WHERE app = 'videos' AND name = '0001_initial'")
    with pytest.raises(
        UserFacingError,
        match=r"^videos\.0001_initial was recorded after accounts\.0002_user_video, which depends on it: nothing was undone\."
        r" Undo that one first: manage\.py migrate accounts zero\.$",
    ):
        plan_rollback(1)


def test_rollback__dependency_is_not_recorded__is_refused(migrated: Database) -> None:
    migrated.execute("DELETE FROM django_migrations WHERE app = 'videos'")
    with pytest.raises(
        UserFacingError,
        match=r"^Migration accounts\.0002_user_video is applied before its dependency videos\.0001_initial on database 'default'\."
        r" Nothing was undone\.$",
    ):
        plan_rollback(None)


def test_rollback__other_migrations_since_the_plan__is_refused(migrated: Database) -> None:
    plan = plan_rollback(1)
    roll_back(plan)
    with pytest.raises(UserFacingError, match=r"^Other migrations were applied or undone in the meantime: nothing was undone\."):
        roll_back(plan)


def test_rollback__while_another_one_migrates__waits_until_its_deadline(migrated: Database) -> None:
    with (
        migration_lock("migrate"),
        pytest.raises(CommandError, match=r"^The migration lock was not free within 0 s: .*'findme migrate ") as refused,
    ):
        call_command("rollback", no_input=True, wait_seconds=0)
    assert refused.value.returncode == 2
    call_command("rollback", no_input=True, wait_seconds=0)


@pytest.mark.at_length
def test_rollback__a_table_stays_in_use__says_what_was_undone_before(migrated: Database) -> None:
    up_to(migrated, "sessions.0001_initial")
    earlier = plan_rollback(None).migrations.index("matching.0005_holds")
    with migrated.connect() as user:
        user.execute("BEGIN; LOCK TABLE matches IN ACCESS SHARE MODE")
        with pytest.raises(UserFacingError) as refused:
            roll_back(plan_rollback(earlier + 1), timeouts=MigrationTimeouts(0, 0.05, 1))
    assert str(refused.value).startswith(
        "matching.0005_holds was not undone: canceling statement due to lock timeout (matching/migrations/sql/0005_holds.down.sql"
    )
    assert str(refused.value).endswith(
        f" It left nothing. {counted(earlier, 'earlier migration')} stayed undone."
        " Run rollback again later, or wait longer with --table-lock-seconds or --attempts."
    )
    assert roll_back(plan_rollback(1)).migrations == ("matching.0005_holds",)


# --- Content types and permissions ------------------------------------------------------------------------------------------------


def test_rollback__content_types_and_permissions_of_removed_models__are_deleted(with_videos: Database) -> None:
    group = Group.objects.create(name="editors")
    group.permissions.set(Permission.objects.filter(codename__in=["view_video", "view_user"]))
    assert ContentType.objects.filter(app_label="videos").exists()
    roll_back(plan_rollback(2), force=True)
    assert set(ContentType.objects.values_list("app_label", flat=True)) == {"contenttypes", "auth", "admin", "accounts"}
    assert not Permission.objects.filter(codename="view_video").exists()
    assert list(group.permissions.values_list("codename", flat=True)) == ["view_user"]


# --- The command ------------------------------------------------------------------------------------------------------------------


def test_rollback__dry_run__lists_and_does_nothing(with_videos: Database, capsys: pytest.CaptureFixture[str]) -> None:
    before = catalog(with_videos)
    call_command("rollback", "2", dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        "to undo: accounts.0002_user_video",
        "to undo: videos.0001_initial",
        "to delete: table videos (1 row)",
        "to delete: column users.video_id (1 value)",
    ]
    assert catalog(with_videos) == before


def test_rollback__answer_yes__is_done(with_videos: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    call_command("rollback", "2")
    printed = capsys.readouterr()
    assert printed.err == "Undo 2 migrations? [y/N] "
    assert printed.out.splitlines()[4:] == [
        "undone: accounts.0002_user_video",
        "undone: videos.0001_initial",
        f"version {with_videos.version()}",
    ]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("\n", "The answer was '', not y: nothing was undone."),
        ("no\n", "The answer was 'no', not y: nothing was undone."),
        ("", "There was no answer: nothing was undone. In a script, add --no-input."),
    ],
)
def test_rollback__answer_not_yes__is_not_done(migrated: Database, monkeypatch: pytest.MonkeyPatch, typed: str, line: str) -> None:
    version = migrated.version()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    with pytest.raises(CommandError) as refused:
        call_command("rollback")
    assert (str(refused.value), refused.value.returncode) == (line, 2)
    assert migrated.version() == version


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")], ids=["closed", "a file"])
def test_rollback__no_terminal__does_not_ask(
    migrated: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: io.StringIO | None
) -> None:
    version = migrated.version()
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(CommandError) as refused:
        call_command("rollback")
    line = "The standard input is not a terminal: nothing was undone. In a script, add --no-input."
    assert (str(refused.value), refused.value.returncode, capsys.readouterr().err) == (line, 2, "")
    assert migrated.version() == version


@pytest.mark.parametrize(
    ("sql", "lost"),
    [
        (VIDEO, "table videos (2 rows)"),
        (f"{PERSON.replace('ann@', 'bob@')}; UPDATE users SET video_id = (SELECT id FROM videos)", "column users.video_id (2 values)"),
    ],
)
def test_rollback__written_between_the_question_and_the_answer__is_not_dropped(
    with_videos: Database, monkeypatch: pytest.MonkeyPatch, sql: str, lost: str
) -> None:
    before = catalog(with_videos)
    monkeypatch.setattr("sys.stdin", Terminal("y\n", lambda: with_videos.execute(sql)))
    with pytest.raises(CommandError) as refused:
        call_command("rollback", "2")
    assert (str(refused.value), refused.value.returncode) == (
        f"This would now drop {lost}: nothing was undone. To drop it, add --force.",
        2,
    )
    assert catalog(with_videos) == before


def test_rollback__deleted_between_the_question_and_the_answer__continues(with_videos: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n", lambda: with_videos.execute("UPDATE users SET video_id = NULL")))
    call_command("rollback", "2")
    assert not with_videos.has("videos")


def test_rollback__written_between_the_question_and_the_answer__force_drops_it(
    with_videos: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n", lambda: with_videos.execute(VIDEO)))
    call_command("rollback", "2", force=True)
    assert not with_videos.has("videos")


def test_rollback__one_row_more_than_accepted__is_refused(with_videos: Database) -> None:
    def writes(migration: str) -> None:
        if migration == "accounts.0002_user_video":
            with_videos.execute(VIDEO)

    plan = plan_rollback(2)
    with pytest.raises(
        UserFacingError,
        match=r"^New data was written to table videos \(2 rows\) after the check: it was not dropped. To drop it too, add --force\.",
    ):
        roll_back(plan, accepted=plan.losses, on_undone=writes)
    assert with_videos.query("SELECT count(*) FROM videos") == [2]


def test_rollback__accepted_losses__are_dropped_with_the_columns_of_their_tables(with_videos: Database) -> None:
    plan = plan_rollback(None)
    assert {loss.column for loss in plan.losses} == {None}
    roll_back(plan, accepted=plan.losses)
    assert not with_videos.has("users")


def test_rollback__json__is_one_object_on_standard_output(with_videos: Database, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("rollback", "1", json=True, dry_run=True)
    plan = json.loads(capsys.readouterr().out)
    assert plan == {"migrations": ["accounts.0002_user_video"], "losses": [{"table": "users", "column": "video_id", "count": 1}]}
    call_command("rollback", "1", json=True, no_input=True, force=True)
    assert json.loads(capsys.readouterr().out) == plan | {"version": with_videos.version()}
