"""The command ``baseline`` in other databases: another schema, some of the tables, another role, another PostgreSQL, rows from a restore."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.core.management.commands import migrate
from django.db import ProgrammingError, connection
from pytest_django import DjangoDbBlocker

from findme.core.errors import UserFacingError
from findme.migrator.baseline.inspection import inspect, require_trigger_rules
from findme.migrator.version import schema_version
from tests.findme.migrator.baseline.empty_guide import create_guide
from tests.schema.rows import ANN, BOB, CEM, MATCH, insert
from tests.support.commands import outcome, refused
from tests.support.database import Database, database, role, use_database
from tests.support.postgresql_versions import installed_versions, server_of_version

pytestmark = pytest.mark.long


@contextmanager
def owner_of_guide() -> Iterator[Database]:
    """A database of the guide in the schema ``dating`` whose owner is no superuser."""
    with role() as (name, password), database(owner=name) as made:
        made.execute("CREATE EXTENSION pg_trgm")
        owner = Database(made.name, name, password)
        create_guide(owner, schema="dating")
        owner.execute(f"ALTER DATABASE {made.name} SET search_path = dating, public")
        made.execute("CREATE TABLE name (id int)")  # of another role, and named as a word of the migrations' SQL
        yield owner


@pytest.mark.at_length
def test_baseline__owner_of_another_schema__adopts_it(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), owner_of_guide() as owner:
        planned = json.loads(owner.manage("baseline", "--plan", "--json")[1])
        code, out, err = owner.manage("baseline", "--no-input", "--json")
        assert code == 0, err
        done = json.loads(out)
        assert (done["schema"], done["adopted"], planned["adopted"]) == ("dating", True, False)
        # The plan also lists the migrations, which are no steps of the result.
        assert set(done["steps"]) <= set(planned["steps"])
        assert len(done["migrations"]) == len(planned["steps"]) - len(done["steps"])
        assert owner.manage("schema_version", "--check")[0] == 0
        assert owner.query("SELECT version FROM schema_migrations") == [4]


@pytest.mark.at_length
@pytest.mark.parametrize("versions", [(1,), (1, 2), (1, 2, 3), (1, 3)], ids=str)
def test_baseline__some_of_the_tables__adopts_them_and_creates_the_others(versions: tuple[int, ...], empty: Database) -> None:
    create_guide(empty, versions, recorded=None)
    assert outcome("baseline", "--no-input") == (0, "")
    assert schema_version().is_current
    assert schema_version().problems == ()


@pytest.mark.at_length
@pytest.mark.parametrize(
    "version", installed_versions() or [pytest.param(0, marks=pytest.mark.skip("no PostgreSQL in /usr/lib/postgresql"))]
)
def test_baseline__other_postgresql__has_no_difference_and_is_adopted(version: int, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), server_of_version(version), database() as made, use_database(made):
        create_guide(made)
        insert("users", id=ANN, verified=None)
        assert {rule.name for rule in inspect(connection).counted.broken} == {"users.verified"}
        assert outcome("baseline", "--fix", "users.verified", "--no-input") == (0, "")
        assert outcome("baseline", "--no-input") == (0, "")
        assert schema_version().is_current


@pytest.mark.at_length
def test_baseline__after_fake_initial_failed__names_the_records_and_adopts(empty_guide: Database) -> None:
    with pytest.raises(ProgrammingError, match="already exists"):
        call_command(migrate.Command(), fake_initial=True, verbosity=0)  # Django's own
    [difference] = inspect(connection).recognized.differences
    assert difference.statement == (
        "DROP TABLE django_admin_log; DELETE FROM django_migrations WHERE app IN ('accounts', 'admin', 'videos');"
    )
    empty_guide.execute(difference.statement)
    assert outcome("baseline", "--no-input") == (0, "")
    assert schema_version().is_current
    assert schema_version().problems == ()


@pytest.mark.at_length("ALTER ROLE {role}", "client")
@pytest.mark.parametrize("where", ["ALTER ROLE {role} IN DATABASE {database}", "ALTER ROLE {role}", "client"])
def test_plan__wrong_search_path__names_where_it_is_set(where: str, empty: Database) -> None:
    """A more specific setting overrides that of the database."""
    create_guide(empty, schema="dating")
    with role() as (name, password):
        empty.execute(f"GRANT USAGE ON SCHEMA dating TO {name}")
        variables = {}
        if where == "client":
            variables = {"PGOPTIONS": "-c search_path=other"}
            advice = 'Set it to "dating", "public" in DATABASE_URL (options=) or in PGOPTIONS, which set it now.'
        else:
            statement = where.format(role=name, database=empty.name)
            empty.execute(f"{statement} SET search_path = other")
            advice = f'Run {statement} SET search_path = "dating", "public";'
        code, out, err = Database(empty.name, name, password).manage("baseline", "--plan", **variables)
        empty.execute(f"DROP OWNED BY {name}")
    assert (code, out) == (2, "")
    assert err == f"search_path is 'other', and the tables of the guide are in the schema 'dating': nothing was changed. {advice}\n"


def test_plan__read_only_database__is_refused(empty_guide: Database) -> None:
    """As on a hot standby."""
    empty_guide.execute(f"ALTER DATABASE {empty_guide.name} SET default_transaction_read_only = on")
    connection.close()
    assert refused("baseline", "--plan") == (
        "To compare the tables, also with --plan, baseline creates others and rolls them back: nothing was changed."
        f" But default_transaction_read_only is 'on'. To undo it: ALTER DATABASE {empty_guide.name} RESET default_transaction_read_only;"
        " or use another role in DATABASE_URL."
    )


@pytest.mark.at_length
def test_plan__role_may_not_use_the_schema__names_the_grant(empty: Database) -> None:
    create_guide(empty, schema="dating")
    empty.execute(f"ALTER DATABASE {empty.name} SET search_path = dating, public")
    with role() as (name, password):
        code, _, err = Database(empty.name, name, password).manage("baseline", "--plan")
    assert code == 2
    assert err == (
        f"The role '{name}' may not use the schema 'dating' with the tables of the guide: nothing was changed."
        f' Run GRANT USAGE ON SCHEMA "dating" TO "{name}";\n'
    )


@pytest.mark.usefixtures("read_once")
def test_require_trigger_rules__row_since_the_inspection__is_refused(empty_guide: Database) -> None:
    for key, name in ((ANN, "ann"), (BOB, "bob"), (CEM, "cem")):
        insert("users", id=key, email=f"{name}@example.com")
    insert("matches", id=MATCH, user_id=ANN, matched_user_id=BOB)
    found = inspect(connection)
    require_trigger_rules(connection, found)
    insert("video_calls", match_id=MATCH, caller_id=CEM, callee_id=BOB)
    with pytest.raises(UserFacingError, match=r"^Rows break 1 rule \(video_calls_users_of_match_check\): the earlier steps stay\. "):
        require_trigger_rules(connection, found)
