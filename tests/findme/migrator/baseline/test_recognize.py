"""A database of the guide is recognized by its catalog, and everything that differs is named with what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker

from findme.core.errors import UserFacingError
from findme.migrator.baseline import refusals
from findme.migrator.baseline.catalog import Table, read_tables
from findme.migrator.baseline.guard import CREATORS
from findme.migrator.baseline.recognize import recognize
from findme.migrator.baseline.recognized import Recognized
from findme.migrator.baseline.scratch import GUIDE_TABLES, MigratedSchema
from findme.migrator.migrate import apply_migrations
from tests.findme.migrator.baseline.empty_guide import create_guide
from tests.findme.migrator.undoing import PERSON
from tests.support.database import Database, database, role, use_database

pytestmark = pytest.mark.usefixtures("read_once")


def subjects(found: Recognized) -> list[str]:
    return [one.subject for one in found.differences]


# --- What is recognized -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 5))
def test_recognize__version_of_the_guide__has_no_difference(version: int, empty: Database) -> None:
    create_guide(empty, range(1, version + 1), recorded=version)
    found = recognize(connection)
    assert (found.schema, found.version, found.differences) == ("public", version, ())
    assert tuple(found.tables) == GUIDE_TABLES[:version]
    assert found.kept == ("table schema_migrations",)
    assert not found.is_adopted


def test_recognize__without_golang_migrate__has_no_difference(empty: Database) -> None:
    create_guide(empty, (1, 3), recorded=None)
    found = recognize(connection)
    assert (tuple(found.tables), found.version, found.differences, found.kept) == (("users", "matches"), None, (), ())


def test_recognize__later_version_of_the_owner__has_no_difference(empty_guide: Database) -> None:
    empty_guide.execute("UPDATE schema_migrations SET version = 7")
    assert (recognize(connection).version, recognize(connection).differences) == (7, ())


def test_recognize__table_of_another_tool__is_no_version(empty_guide: Database) -> None:
    empty_guide.execute("DROP TABLE schema_migrations; CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    assert recognize(connection).version is None


def test_recognize__gen_random_uuid__is_no_difference(empty_guide: Database) -> None:
    for table in GUIDE_TABLES:
        empty_guide.execute(f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT gen_random_uuid()")
    assert recognize(connection).differences == ()


def test_recognize__quote_all_identifiers__is_no_difference(empty_guide: Database) -> None:
    empty_guide.execute(f"ALTER DATABASE {empty_guide.name} SET quote_all_identifiers = on")
    connection.close()
    found = recognize(connection)
    assert (found.differences, found.kept) == ((), ("table schema_migrations",))


def test_recognize__another_schema__is_found_by_search_path(empty: Database) -> None:
    create_guide(empty, schema='"Dating app"')
    empty.execute(f'ALTER DATABASE {empty.name} SET search_path = "Dating app", public')
    connection.close()
    found = recognize(connection)
    assert (found.schema, found.differences) == ("Dating app", ())


def test_recognize__objects_of_the_owner__are_kept(empty_guide: Database) -> None:
    empty_guide.execute("""
        ALTER TABLE users ADD COLUMN phone text, ADD COLUMN plan text NOT NULL DEFAULT 'free', ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
        ALTER TABLE users ADD CONSTRAINT phone_length CHECK (length(phone) < 20);
        CREATE INDEX idx_users_phone ON users (phone);
        CREATE TRIGGER a_matches BEFORE UPDATE ON matches FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
        CREATE TABLE invoices (user_id uuid REFERENCES users);
        CREATE VIEW adults AS SELECT id FROM users;
    """)
    found = recognize(connection)
    assert found.differences == ()
    assert found.kept == (
        "column users.phone",
        "column users.plan",
        "column users.number",
        "constraint phone_length on users",
        "index idx_users_phone on users",
        "trigger a_matches on matches",
        "view adults",
        "table invoices",
        "table schema_migrations",
    )


def test_recognize__objects_of_the_owner_named_like_temporary_ones__are_kept(empty_guide: Database) -> None:
    empty_guide.execute("""
        ALTER TABLE users ADD CONSTRAINT baseline_users_bio CHECK (bio <> ''), ADD CONSTRAINT baseline_users_email_not_null CHECK (email <> '');
        CREATE INDEX baseline_idx_users_bio ON users (bio);
    """)
    found = recognize(connection)
    assert (found.differences, found.kept[:-1]) == (
        (),
        (
            "constraint baseline_users_bio on users",
            "constraint baseline_users_email_not_null on users",
            "index baseline_idx_users_bio on users",
        ),
    )


def test_recognize__missing_indexes_and_triggers_and_other_names__are_no_difference(empty_guide: Database) -> None:
    empty_guide.execute("""
        DROP INDEX idx_users_email, idx_videos_metadata;
        DROP TRIGGER update_videos_updated_at ON videos;
        ALTER TABLE matches RENAME CONSTRAINT matches_check TO not_oneself;
        ALTER INDEX idx_matches_score RENAME TO score;
    """)
    found = recognize(connection)
    assert (found.differences, found.kept) == ((), ("table schema_migrations",))


def test_recognize__what_a_killed_conversion_left__is_no_difference(empty_guide: Database) -> None:
    empty_guide.execute("""
        ALTER TABLE users ADD COLUMN is_staff boolean DEFAULT false, ADD COLUMN last_login timestamptz,
            ADD CONSTRAINT baseline_users_verified_not_null CHECK (verified IS NOT NULL) NOT VALID,
            ADD CONSTRAINT users_bio_length_check CHECK (octet_length(bio) <= 100000) NOT VALID,
            ALTER COLUMN active SET NOT NULL, ALTER COLUMN id SET DEFAULT gen_random_uuid();
        CREATE UNIQUE INDEX videos_id_user_key ON videos (id, user_id);
        CREATE UNIQUE INDEX idx_users_email_lower ON users (lower(email));
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_users_email_lower'::regclass;
        ALTER TABLE matches ADD CONSTRAINT baseline_matches_check CHECK (NOT user_id = matched_user_id) NOT VALID;
        CREATE INDEX baseline_idx_users_active ON users (active) WHERE active AND deleted_at IS NULL;
        ALTER TABLE matches DROP CONSTRAINT matches_user_id_fkey, ADD CONSTRAINT matches_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id)
            ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
    """)
    found = recognize(connection)
    assert (found.differences, found.kept) == ((), ("table schema_migrations",))


def test_recognize__constraints_of_a_restored_dump__are_no_difference(empty_guide: Database) -> None:
    constraints = [
        (table.name, one)
        for table in read_tables(connection, "public", GUIDE_TABLES).values()
        for one in table.constraints.values()
        if one.kind == "c"
    ]
    definitions = empty_guide.query("SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' ORDER BY 1")
    for table, one in constraints:
        [printed] = empty_guide.query("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", one.name)
        empty_guide.execute(f"ALTER TABLE {table} DROP CONSTRAINT {one.name}, ADD CONSTRAINT {one.name} {printed}")
    assert definitions != empty_guide.query("SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' ORDER BY 1")
    assert recognize(connection).differences == ()


# --- What differs -----------------------------------------------------------------------------------------------------------------

DIFFERENCES = [
    (
        "ALTER TABLE users ADD CONSTRAINT baseline_users_active_not_null CHECK (active OR bio <> '')",
        "constraint baseline_users_active_not_null on users",
        "CHECK ((active OR (bio <> ''::text)))",
    ),
    (
        "ALTER TABLE matches ADD CONSTRAINT baseline_matches_check CHECK (year > 2020)",
        "constraint baseline_matches_check on matches",
        "CHECK ((year > 2020))",
    ),
    ("CREATE INDEX baseline_idx_users_active ON users (bio)", "index baseline_idx_users_active on users", "USING btree (bio)"),
    ("ALTER TABLE users ALTER COLUMN email TYPE text", "column users.email", "type text"),
    ("ALTER TABLE users RENAME COLUMN bio TO about", "column users.bio", "a column about instead"),
    ("ALTER TABLE users DROP COLUMN video_id", "column users.video_id", "no such column"),
    ("ALTER TABLE users ALTER COLUMN verified SET DEFAULT true", "column users.verified", "default true"),
    ("ALTER TABLE users ALTER COLUMN full_name DROP NOT NULL", "column users.full_name", "nullable"),
    ("ALTER TABLE users ALTER COLUMN bio SET NOT NULL", "column users.bio", "NOT NULL"),
    ('ALTER TABLE users ADD COLUMN "order" text NOT NULL', "column users.order", "NOT NULL without a default"),
    ("ALTER TABLE users ADD COLUMN is_staff text", "column users.is_staff", "text"),
    (
        f"ALTER TABLE users ADD COLUMN is_superuser boolean NOT NULL DEFAULT false; {PERSON}; UPDATE users SET is_superuser = true",
        "column users.is_superuser",
        "true in some rows",
    ),
    ('ALTER TABLE users ALTER COLUMN gender TYPE varchar(50) COLLATE "C"', "column users.gender", 'type character varying(50) COLLATE "C"'),
    ("ALTER TABLE videos DROP CONSTRAINT videos_duration_check", "constraint videos_duration_check on videos", "no such constraint"),
    (
        "ALTER TABLE users DROP CONSTRAINT users_gender_check, ADD CONSTRAINT users_gender_check CHECK (gender <> '')",
        "constraint users_gender_check on users",
        "CHECK (((gender)::text <> ''::text))",
    ),
    (
        "ALTER TABLE users DROP CONSTRAINT users_email_key; CREATE UNIQUE INDEX users_email_key ON users (email)",
        "constraint users_email_key on users",
        "no such constraint",
    ),
    ("ALTER TABLE video_calls DROP CONSTRAINT video_calls_pkey", "constraint video_calls_pkey on video_calls", "no such constraint"),
    (
        "ALTER TABLE videos DROP CONSTRAINT videos_user_id_fkey, ADD CONSTRAINT videos_user_id_fkey FOREIGN KEY (user_id) REFERENCES users",
        "constraint videos_user_id_fkey on videos",
        "FOREIGN KEY (user_id) REFERENCES users(id)",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT users_bio_length_check CHECK (length(bio) < 10)",
        "constraint users_bio_length_check on users",
        "CHECK ((length(bio) < 10))",
    ),
    (
        "CREATE INDEX idx_users_email_lower ON users (lower(email))",
        "index idx_users_email_lower on users",
        "USING btree (lower((email)::text))",
    ),
    ("CREATE INDEX idx_videos_user_id_cascade ON matches (id)", "index idx_videos_user_id_cascade", "an index of another program"),
    (
        "ALTER TABLE users ADD CONSTRAINT idx_users_email_lower UNIQUE (email, id)",
        "constraint idx_users_email_lower on users",
        "UNIQUE (email, id)",
    ),
    (
        "CREATE TRIGGER erased_users_inserted BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
        "trigger erased_users_inserted on users",
        "BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
    ),
    ("CREATE TABLE profile_embeddings (id int)", "table profile_embeddings", "a table of another program"),
    ("CREATE TABLE schema_version (version integer PRIMARY KEY)", "table schema_version", "a table of another program"),
    ("CREATE TYPE erased_users AS ENUM ('a')", "type erased_users", "a type of another program"),
    (
        "CREATE FUNCTION note_deleted_users() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "function note_deleted_users()",
        "a function of another program",
    ),
    (
        "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "function update_updated_at_column()",
        "another body: BEGIN RETURN NEW; END",
    ),
    (
        "ALTER FUNCTION update_updated_at_column() SET work_mem = '8MB'",
        "function update_updated_at_column()",
        "other options: work_mem=8MB",
    ),
    ("ALTER TABLE videos DISABLE TRIGGER update_videos_updated_at", "trigger update_videos_updated_at on videos", "disabled"),
    ("ALTER TABLE users ENABLE ALWAYS TRIGGER update_users_updated_at", "trigger update_users_updated_at on users", "enabled always"),
    ("ALTER TABLE video_calls DISABLE TRIGGER ALL", "table video_calls", "foreign keys that are not enforced"),
    ("CREATE RULE soft AS ON DELETE TO video_calls DO INSTEAD NOTHING", "table video_calls", "a table with rewrite rules"),
    ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", "table users", "row level security"),
    ("ALTER TABLE video_calls SET UNLOGGED", "table video_calls", "an unlogged table"),
    ("CREATE TABLE more_videos () INHERITS (videos)", "table videos", "a table that inherits or has child tables"),
    ("DROP TABLE videos", "table videos", "no such table"),
    ("DROP TABLE matches CASCADE; DELETE FROM schema_migrations", "table matches", "no such table"),
]
"""What the owner did, and what differs."""


@pytest.mark.at_length(every=6)
@pytest.mark.parametrize(("done", "subject", "what"), DIFFERENCES, ids=[subject for _, subject, _ in DIFFERENCES])
def test_recognize__difference__is_named_with_the_statement_that_corrects_it(
    done: str, subject: str, what: str, empty_guide: Database
) -> None:
    empty_guide.execute(done)
    [difference] = recognize(connection).differences
    assert (difference.subject, difference.found) == (subject, what)
    assert difference.expected
    if difference.statement.startswith(r"\i "):
        assert difference.statement.endswith(f"_create_{subject.removeprefix('table ')}_table.up.sql")
    if "child tables" not in what:
        type_statements(empty_guide)


@pytest.mark.parametrize(("column", "subject"), [("full_name", ["column users.full_name"]), ("verified", [])])
def test_recognize__not_null_that_is_not_valid__counts_as_nullable(column: str, subject: list[str], empty_guide: Database) -> None:
    """Rows can be NULL. A column of the guide that is NOT NULL differs, and for another one the rows are counted."""
    if int(empty_guide.query("SHOW server_version_num")[0]) < 180_000:
        pytest.skip("PostgreSQL 18 has NOT NULL NOT VALID")
    empty_guide.execute(
        f"ALTER TABLE users ALTER COLUMN {column} DROP NOT NULL; ALTER TABLE users ADD CONSTRAINT own NOT NULL {column} NOT VALID"
    )
    found = recognize(connection)
    assert subjects(found) == subject
    assert not found.tables["users"].columns[column].not_null
    type_statements(empty_guide)


def type_statements(database: Database) -> None:
    """Type the statements of all differences, then those that are possible now."""
    for _ in range(2):
        for difference in recognize(connection).differences:
            statement = difference.statement
            if statement.startswith(r"\i "):
                statement = Path(statement[3:]).read_text().replace('CREATE EXTENSION IF NOT EXISTS "uuid-ossp";', "")
            if statement.endswith(r"\gexec"):
                statement = ";".join(database.query(statement.removesuffix(r"\gexec")))
            database.execute(statement)
    assert subjects(recognize(connection)) == []


def test_recognize__second_database__each_of_its_differences_is_named(empty_guide: Database) -> None:
    expected: list[str] = []
    for done, subject, _ in DIFFERENCES:
        others = [*expected, "bio", "is_superuser", "idx_users_email_lower", "users.email", "users.gender", "table videos", "table matches"]
        if not any(other in subject for other in others):
            empty_guide.execute(done)
            expected.append(subject)
    assert len(expected) >= 10
    assert sorted(subjects(recognize(connection))) == sorted(expected)
    type_statements(empty_guide)


@pytest.mark.parametrize("relation", ["view", "partitioned table"])
def test_recognize__no_plain_table__is_named(relation: str, empty: Database) -> None:
    create_guide(empty, (1,), recorded=1)
    empty.execute("ALTER TABLE users RENAME TO persons")
    if relation == "view":
        empty.execute("CREATE VIEW users AS SELECT * FROM persons")
    else:
        empty.execute("CREATE TABLE users (LIKE persons INCLUDING DEFAULTS) PARTITION BY HASH (id)")
    found = recognize(connection)
    assert ("table users", f"a {relation}", "a table") in [(one.subject, one.found, one.expected) for one in found.differences]


def test_recognize__fake_initial__names_the_records_to_delete(empty_guide: Database) -> None:
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    for app, name in (
        ("migrator", "0001_schema_version"),
        ("contenttypes", "0001_initial"),
        ("auth", "0001_initial"),
        ("accounts", "0001_initial"),
    ):
        recorder.record_applied(app, name)
    [difference] = recognize(connection).differences
    assert difference.subject == "table django_migrations"
    assert difference.found == "migrations of accounts, auth, contenttypes, migrator, but no column users.is_staff"
    empty_guide.execute(difference.statement)
    assert subjects(recognize(connection)) == []


# --- Nothing to do ----------------------------------------------------------------------------------------------------------------


def test_recognize__freshly_migrated__is_adopted(migrated: Database) -> None:
    assert recognize(connection).is_adopted


def test_recognize__partly_migrated__is_adopted(with_videos: Database) -> None:
    assert recognize(connection).is_adopted


def test_creators__are_the_migrations_that_create_the_tables(expected_tables: tuple[dict[str, Table], MigratedSchema]) -> None:
    relations = expected_tables[1].relations
    assert {name: relations[name].migration for name in GUIDE_TABLES} == CREATORS


# --- Refusals ---------------------------------------------------------------------------------------------------------------------


def refusal() -> str:
    with pytest.raises(UserFacingError) as refused:
        recognize(connection)
    return str(refused.value)


def test_recognize__table_that_golang_migrate_dropped_afterwards__is_refused(migrated: Database) -> None:
    """As after ``migrate down 1``."""
    migrated.execute("DROP TABLE video_calls")
    assert refusal() == "The table 'video_calls' was dropped after it was adopted: nothing was changed. Restore it from a backup."


@pytest.mark.parametrize(
    ("versions", "dirty", "force"),
    [((1, 2), 2, 2), ((1, 2), 3, 2), ((1,), 1, 1), ((1, 2, 3, 4), 5, 4)],
    ids=["done", "undone", "first", "own"],
)
def test_recognize__dirty__names_golang_migrates_remedy(versions: tuple[int, ...], dirty: int, force: int, empty: Database) -> None:
    create_guide(empty, versions, recorded=dirty)
    empty.execute("UPDATE schema_migrations SET dirty = true")
    assert refusal() == (
        f"schema_migrations is dirty at version {dirty}: nothing was changed."
        f" Run migrate -path backend/migrations/postgres -database $DATABASE_URL force {force}"
    )


def test_recognize__no_table_of_the_guide__names_migrate(empty: Database) -> None:
    assert refusal().endswith("has no tables of the migration guide: nothing was changed. Run manage.py migrate.")


def test_recognize__wrong_search_path__names_the_schema(empty: Database) -> None:
    create_guide(empty, schema="dating")
    assert refusal() == (
        "search_path is '\"$user\", public', and the tables of the guide are in the schema 'dating': nothing was changed."
        f' Run ALTER DATABASE {empty.name} SET search_path = "dating", "public";'
    )


def test_recognize__pg_trgm_is_not_in_search_path__names_its_schema(empty_guide: Database) -> None:
    empty_guide.execute("CREATE SCHEMA extensions; ALTER EXTENSION pg_trgm SET SCHEMA extensions")
    assert refusal() == (
        "The extension pg_trgm is in the schema extensions, and search_path is '\"$user\", public': nothing was changed."
        f' Run ALTER DATABASE {empty_guide.name} SET search_path = "$user", public, extensions;'
    )
    empty_guide.execute(f'ALTER DATABASE {empty_guide.name} SET search_path = "$user", public, extensions')
    connection.close()
    assert recognize(connection).differences == ()


def test_recognize__pg_trgm_is_in_a_schema_without_permission__names_the_grant(empty_guide: Database) -> None:
    empty_guide.execute("CREATE SCHEMA extensions; ALTER EXTENSION pg_trgm SET SCHEMA extensions")
    with role() as (name, _), connection.cursor() as cursor:
        empty_guide.execute(f"GRANT ALL ON DATABASE {empty_guide.name} TO {name}; GRANT ALL ON SCHEMA public TO {name}")
        empty_guide.execute("".join(f"ALTER TABLE {table} OWNER TO {name};" for table in GUIDE_TABLES))
        empty_guide.execute(f"ALTER FUNCTION update_updated_at_column() OWNER TO {name}; GRANT SELECT ON schema_migrations TO {name}")
        cursor.execute(f"SET ROLE {name}")
        reason = refusal()
        connection.close()
        empty_guide.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}")
    assert reason == (
        f"The extension pg_trgm is in the schema extensions, which the role {name} may not use: nothing was changed."
        f" Run GRANT USAGE ON SCHEMA extensions TO {name};"
    )


def test_recognize__new_tables_would_be_in_another_schema__is_refused(empty_guide: Database) -> None:
    empty_guide.execute(f"CREATE SCHEMA other; ALTER DATABASE {empty_guide.name} SET search_path = other, public")
    connection.close()
    assert refusal().endswith('SET search_path = "public";')


def test_recognize__two_schemas__is_refused(empty: Database) -> None:
    create_guide(empty, (1,), recorded=None, schema="one")
    create_guide(empty, (1, 2), recorded=None, schema="two")
    empty.execute(f"DROP TABLE two.users CASCADE; ALTER DATABASE {empty.name} SET search_path = one, two")
    connection.close()
    assert refusal().startswith("The tables of the guide are in the schemas one and two: nothing was changed.")


def test_recognize__old_release__is_refused(empty_guide: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "OLDEST_RELEASE", 99)
    assert "FindMe needs 99 or later: nothing was changed" in refusal()


def test_recognize__another_encoding__is_refused(django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), database(encoding="LATIN1") as made, use_database(made):
        create_guide(made)
        assert "has the encoding LATIN1, but FindMe needs UTF8: nothing was changed" in refusal()


@pytest.mark.parametrize("missing", ["table", "database", "schema", "function"])
def test_recognize__role_lacks_a_permission__is_refused(missing: str, empty_guide: Database) -> None:
    with role() as (name, _), connection.cursor() as cursor:
        empty_guide.execute(f"ALTER TABLE users OWNER TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        if missing != "table":
            empty_guide.execute("".join(f"ALTER TABLE {table} OWNER TO {name};" for table in GUIDE_TABLES))
        if missing != "database":
            empty_guide.execute(f"GRANT CREATE ON DATABASE {empty_guide.name} TO {name}")
        if missing != "schema":
            empty_guide.execute(f"GRANT CREATE ON SCHEMA public TO {name}")
        cursor.execute(f"SET ROLE {name}")
        reason = refusal()
        connection.close()
        empty_guide.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}")
    assert {
        "table": f"The role {name!r} does not own the table 'matches', but ",
        "database": f'Run GRANT CREATE ON DATABASE "{empty_guide.name}" TO "{name}";',
        "schema": f'Run GRANT CREATE ON SCHEMA "public" TO "{name}";',
        "function": f'Run ALTER FUNCTION update_updated_at_column() OWNER TO "{name}";',
    }[missing] in reason


def test_recognize__repeated__changes_nothing(empty_guide: Database) -> None:
    first = recognize(connection)
    assert recognize(connection) == first
    assert empty_guide.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'baseline%%'") == []


def test_apply_migrations__database_of_the_guide__names_baseline(empty_guide: Database) -> None:
    with pytest.raises(UserFacingError) as refused:
        apply_migrations()
    assert str(refused.value) == (
        "The table 'users' exists, and no migration created it: nothing was applied."
        " If it is the migration guide's, run manage.py baseline --plan, then manage.py baseline."
    )
    assert not empty_guide.has("django_migrations")
