"""Dumps of the guide's database and of FindMe's: all rows are there again, and what was left out is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker, Settings

from backups.foreign.detect import Kind
from backups.foreign.restore import restore_foreign
from backups.foreign.schema import Tables
from backups.postgresql.digests import TableDigest, table_digests
from backups.postgresql.tables import dumped_tables
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from tests.backups.foreign.dumping import pg_dump, query, scratch
from tests.backups.postgresql.test_digests import digests
from tests.findme.migrator.baseline.guide_database import create_guide_tables
from tests.support.database import Database, database, use_database
from tests.support.postgresql_versions import installed_versions, server_of_version

FORMS = {
    "plain": ("a.sql", []),
    "compressed": ("a.sql.gz", []),
    "inserts": ("inserts.sql", ["--inserts"]),
    "rows": ("rows.sql", ["--column-inserts", "--rows-per-insert=7"]),
    "no owner": ("owner.sql", ["--no-owner", "--no-privileges"]),
    "clean": ("clean.sql", ["--clean", "--if-exists"]),
    "authorization": ("authorization.sql", ["--use-set-session-authorization"]),
    "quoted": ("quoted.sql", ["--quote-all-identifiers"]),
    "custom": ("a.dump", ["--format=custom"]),
    "custom in gzip": ("a.dump.gz", ["--format=custom", "--compress=0"]),
}


@pytest.fixture(scope="session")
def guide_template() -> Iterator[Database]:
    """The guide's database, with values that look like SQL and like commands of psql."""
    with database() as made:
        create_guide_tables(made)
        made.execute(r"""
            UPDATE users SET bio = CASE substr(id::text, 36)::char
                WHEN '1' THEN E'\\! touch x\n\\.\nCOMMIT;' WHEN '2' THEN E'it''s \\' WHEN '3' THEN E'$$ ; -- /* "\t' ELSE bio END;
            CREATE TABLE own (n int PRIMARY KEY, "odd ;\ name" text); INSERT INTO own VALUES (1, '\');
            CREATE FUNCTION own_function() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
            COMMENT ON TABLE own IS E'a \\comment; \\q';
            GRANT SELECT ON own TO PUBLIC;
        """)
        yield made


@pytest.fixture
def guide(guide_template: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    with django_db_blocker.unblock(), database(guide_template.name) as made, use_database(made):
        yield made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.at_length("compressed", "rows", "quoted", "authorization", "no owner", "clean")
def test_restore_foreign__guide(form: str, guide: Database, tmp_path: Path) -> None:
    name, options = FORMS[form]
    path, before = pg_dump(tmp_path / name, *options), digests()
    with scratch() as made:
        found = restore_foreign(made, path)
        assert digests_of(made) == before
        assert owners(made) == [True]
        assert roles_of(made) == []
        assert query(made, "SELECT own_function()") == [2]
    assert (found.kind, found.tables) == (Kind.CUSTOM if "custom" in form else Kind.PLAIN, Tables.GUIDE)
    assert "which manage.py baseline converts" in found.sentences[-1]
    assert "no manifest" in found.sentences[0]


def digests_of(made: BaseDatabaseWrapper) -> dict[str, TableDigest]:
    return table_digests(made, dumped_tables(made))


def owners(made: BaseDatabaseWrapper) -> list[object]:
    """Return whether the tables, and the database, are those of the connection's role."""
    return query(
        made,
        "SELECT DISTINCT owner = current_user::regrole FROM (SELECT relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT datdba FROM pg_database WHERE datname = current_database()) AS owners(owner)",
    )


def roles_of(made: BaseDatabaseWrapper) -> list[object]:
    """Return the roles that were made for the restore."""
    return query(made, "SELECT rolname FROM pg_roles WHERE rolname = current_database()")


def test_restore_foreign__findme(migrated: Database, tmp_path: Path) -> None:
    path, before = pg_dump(tmp_path / "a.sql"), digests()
    with scratch() as made:
        found = restore_foreign(made, path)
        assert digests_of(made) == before
        assert query(made, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == migrated.query(
            "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
        )
    assert (found.tables, found.unapplied) == (Tables.FINDME, ())
    assert found.rights_left_out
    assert "were left out" in found.sentences[-1]


def test_restore_foreign__earlier_release__is_to_be_migrated(migrated: Database, tmp_path: Path) -> None:
    [last] = migrated.query("DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations) RETURNING app || '.' || name")
    path = pg_dump(tmp_path / "a.dump", "--format=custom")
    with scratch() as made:
        found = restore_foreign(made, path, jobs=2)
    assert last in found.unapplied
    assert "manage.py migrate applies them" in found.sentences[-1]


def test_restore_foreign__later_release__is_refused(migrated: Database, tmp_path: Path) -> None:
    migrated.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999_later', now())")
    path = pg_dump(tmp_path / "a.sql")
    with scratch() as made, pytest.raises(UserFacingError, match=r"'.*a\.sql' has migrations .*accounts\.0999_later.*Install the release"):
        restore_foreign(made, path)


def test_restore_foreign__baseline_has_not_ended__is_to_be_continued(migrated: Database, tmp_path: Path) -> None:
    migrated.execute("INSERT INTO schema_baseline (migrations) VALUES (ARRAY['accounts.0001_initial'])")
    path = pg_dump(tmp_path / "a.sql")
    with scratch() as made:
        assert restore_foreign(made, path).tables is Tables.GUIDE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--table=own"], "neither FindMe's tables nor those of the migration guide"),
        (
            ["--create"],
            r"Line \d+ of .* has CREATE DATABASE \(pg_dump --create\): nothing was restored. Dump the database again without --create",
        ),
        (["--clean", "--create"], r"has DROP DATABASE \(pg_dump --create\)"),
        (["--clean"], r"--clean, or with --if-exists"),
        (
            ["--table=videos"],
            r"psql failed: ERROR: .*(function public\.(update_updated_at_column|uuid_generate_v4)|relation \"public.users\")",
        ),
    ],
)
def test_restore_foreign__other_dumps__are_refused(options: list[str], message: str, guide: Database, tmp_path: Path) -> None:
    path = pg_dump(tmp_path / "a.sql", *options)
    with scratch() as made:
        with pytest.raises(UserFacingError, match=message) as raised:
            restore_foreign(made, path)
        assert roles_of(made) == []
        if "--table=own" not in options:
            assert digests_of(made) == {}
    assert "\n" not in str(raised.value)


def test_restore_foreign__large_objects(guide: Database, tmp_path: Path) -> None:
    """``pg_dump`` writes BEGIN and COMMIT around them."""
    guide.execute("SELECT lo_from_bytea(4711, 'content')")
    path = pg_dump(tmp_path / "a.sql")
    assert b"\nCOMMIT;" in path.read_bytes()
    with scratch() as made:
        restore_foreign(made, path)
        assert query(made, "SELECT convert_from(lo_get(4711), 'UTF8')") == ["content"]


@pytest.mark.parametrize("suffix", [".sql", ".sql.gz", ".dump"])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
@pytest.mark.at_length(every=3)
def test_restore_foreign__cut_off__is_refused(suffix: str, share: float, guide: Database, tmp_path: Path) -> None:
    """By itself, psql ends with exit code 0 at the end of a dump that was cut off in the rows of a table."""
    path = pg_dump(tmp_path / f"a{suffix}", *(["--format=custom"] if suffix == ".dump" else []))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with scratch() as made, pytest.raises(UserFacingError, match=r"is cut off|is damaged|pg_restore failed"):
        restore_foreign(made, path)


def test_restore_foreign__cut_off_between_two_statements__is_refused(guide: Database, tmp_path: Path) -> None:
    path = pg_dump(tmp_path / "a.sql")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\nALTER TABLE ONLY")])
    with scratch() as made, pytest.raises(UserFacingError, match="is cut off: its end is missing, so nothing was restored"):
        restore_foreign(made, path)


def test_restore_foreign__an_error_shows_no_row(guide: Database, tmp_path: Path) -> None:
    path = pg_dump(tmp_path / "a.sql")
    content = path.read_bytes().replace(b"\nCOPY public.users (id, ", b"\nCOPY public.users (bio, ")
    assert content != path.read_bytes()
    path.write_bytes(content)
    with scratch() as made, pytest.raises(UserFacingError, match="psql failed: ERROR: ") as raised:
        restore_foreign(made, path)
    assert "@example.com" not in str(raised.value).lower()
    assert "CONTEXT" not in str(raised.value)


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.parametrize(
    "version", installed_versions() or [pytest.param(0, marks=pytest.mark.skip("no PostgreSQL in /usr/lib/postgresql"))]
)
def test_restore_foreign__older_server(version: int, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> None:
    """The dumps of the programs of that version, and of newer ones, which set what the server does not know."""
    with django_db_blocker.unblock(), server_of_version(version), database() as made, use_database(made):
        create_guide_tables(made)
        before = digests()
        for program in {
            find_program("pg_dump", version).path: find_program("pg_dump", version),
            "newest": find_program("pg_dump", 18),
        }.values():
            for name, options in (("a.sql", []), ("a.dump", ["--format=custom"])):
                path = pg_dump(tmp_path / name, *options, program=program)
                with scratch() as restored:
                    assert restore_foreign(restored, path).tables is Tables.GUIDE
                    assert digests_of(restored) == before
                    assert owners(restored) == [True]
        with connection.cursor() as cursor:
            cursor.execute("SHOW hba_file")
            Path(cursor.fetchone()[0]).write_text("local all findme trust\n")
            cursor.execute("SELECT pg_reload_conf()")
        with scratch() as restored:
            with pytest.raises(UserFacingError, match=r"refuses logins of a new role .*pg_hba\.conf"):
                restore_foreign(restored, tmp_path / "a.sql")
            assert roles_of(restored) == []
            assert owners(restored) == [True]


def test_restore_foreign__psql_without_restrict__is_refused(guide: Database, tmp_path: Path, settings: Settings) -> None:
    """An older minor version takes the restriction for an unknown command, and ends."""
    path = pg_dump(tmp_path / "a.sql")
    stub = tmp_path / "psql"
    stub.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'psql (PostgreSQL) 99.0' && exit 0\n"
        "head -c 1 >/dev/null\nprintf '%s\\n' 'psql:<stdin>:2: error: invalid command \\restrict' >&2\nexit 3\n"
    )
    stub.chmod(0o755)
    settings.POSTGRESQL_PROGRAMS = str(tmp_path)
    with scratch() as made, pytest.raises(UserFacingError, match=r"psql does not know \\restrict.*Install the newest minor version"):
        restore_foreign(made, path)
