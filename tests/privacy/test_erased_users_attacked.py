"""Another role cannot run code through the trigger functions that refuse rows, or redirect their queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction

from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from tests.factories import UserFactory, VideoCallFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf, install_shelf
from tests.schema.rows import ask, settle

pytestmark = pytest.mark.django_db(transaction=True)

ATTACKER = "findme_test_attacker"
OPERANDS = (
    "varchar, varchar",
    "varchar, text",
    "text, varchar",
    "uuid, uuid",
    "jsonb, text",
    "jsonb, jsonb",
    "text[], text[]",
    "boolean, boolean",
    "timestamptz, timestamptz",
)
TRAP = f"BEGIN IF current_user::text OPERATOR(pg_catalog.<>) ''{ATTACKER}'' THEN PERFORM pg_catalog.nextval(''public.trapped''); END IF;"
"""Function body that records that it ran as another role."""
NEW_VIDEO = "INSERT INTO public.videos (user_id, storage_url, duration, file_size) VALUES (%s, 'https://example.com/v', 1, 1)"
NEW_CALL = "INSERT INTO public.video_calls (match_id, caller_id, callee_id, session_id) VALUES"
DEFINERS = """
    SELECT proname::text, proconfig, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc
    WHERE prosecdef AND pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'users'::regclass)
"""


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return install_shelf(monkeypatch)


@contextmanager
def attacker_role() -> Iterator[None]:
    """Create a role that may write the tables of users, and create objects in their schema and in a temporary one."""
    with transaction.atomic():
        ask(f"CREATE ROLE {ATTACKER}")
        ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON users, videos, video_calls TO {ATTACKER}")
        ask(f"GRANT CREATE ON SCHEMA public TO {ATTACKER}")
        ask(f"DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO {ATTACKER}', current_database()); END $$")
        ask("CREATE SEQUENCE trapped; GRANT USAGE ON SEQUENCE trapped TO PUBLIC")  # an error does not roll back a sequence
        yield
        transaction.set_rollback(True)


def set_traps() -> None:
    """Create operators with better matching operands, functions of the same names, and an empty table of erased users."""
    for number, operands in enumerate(OPERANDS):
        left, right = operands.split(", ")
        ask(f"CREATE FUNCTION public.trap{number}({operands}) RETURNS boolean LANGUAGE plpgsql AS '{TRAP} RETURN false; END'")
        for operator in ("=", "<>", "<"):
            ask(f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trap{number})")
    ask("CREATE TEMP TABLE erased_users (user_id uuid, deleted boolean, erased_at timestamptz)")
    ask("CREATE TEMP TABLE new_rows (id uuid)")
    ask("CREATE TEMP TABLE matches AS SELECT match_id AS id, caller_id AS user_id, caller_id AS matched_user_id FROM video_calls")
    ask("CREATE TEMP TABLE video_calls AS SELECT * FROM video_calls WITH NO DATA")
    for signature in ("format(text, text)", "format(text, name)", "replace(varchar, text, text)", "rtrim(varchar, varchar)"):
        ask(f"CREATE FUNCTION public.{signature} RETURNS text LANGUAGE plpgsql AS '{TRAP} RETURN NULL; END'")
    ask("SET LOCAL search_path = pg_temp, public, pg_catalog")


def traps_have_run() -> bool:
    return bool(ask("SELECT is_called FROM trapped")[0][0])


def refused(statement: str, *parameters: UUID) -> bool:
    with pytest.raises(DatabaseError) as caught, transaction.atomic():  # noqa: PT012  # the commit's checks belong to it
        ask(statement, *parameters)
        settle()
    return getattr(caught.value.__cause__, "sqlstate", None) == "23514"


def insert_user(user_id: UUID) -> tuple[str, UUID]:
    return (
        "INSERT INTO public.users (id, email, password_hash, full_name, date_of_birth, gender) VALUES (%s, 'n@example.com', '', 'N', '1990-01-01', 'male')",
        user_id,
    )


def test_traps__of_another_role_do_not_run() -> None:
    anonymized, deleted_user, other, call = full_life(), UserFactory.create(), UserFactory.create(), VideoCallFactory.create()
    anonymize(anonymized.pk)
    erase(deleted_user.pk)
    with attacker_role():
        ask(f"SET LOCAL ROLE {ATTACKER}")
        set_traps()
        assert refused("UPDATE public.users SET bio = 'back' WHERE id OPERATOR(pg_catalog.=) %s", anonymized.pk)
        assert refused(
            "UPDATE public.videos SET storage_url = 'https://example.com/v' WHERE user_id OPERATOR(pg_catalog.=) %s", anonymized.pk
        )
        assert refused(NEW_VIDEO, anonymized.pk)
        assert refused(*insert_user(deleted_user.pk))
        assert refused(f"{NEW_CALL} (%s, %s, %s, 'wrong')", call.match_id, call.caller_id, other.pk)
        assert refused(f"{NEW_CALL} (%s, %s, %s, 'wrong')", call.match_id, call.caller_id, call.caller_id)
        ask(f"{NEW_CALL} (%s, %s, %s, 'right')", call.match_id, call.callee_id, call.caller_id)
        settle()
        ask(*insert_user(UUID(int=7)))
        ask("UPDATE public.users SET bio = 'new' WHERE id OPERATOR(pg_catalog.=) %s", other.pk)
        ask("UPDATE public.users SET email = pg_catalog.concat('deleted_', id, '@findme.ai') WHERE id OPERATOR(pg_catalog.=) %s", other.pk)
        ask("DELETE FROM public.users WHERE id OPERATOR(pg_catalog.=) %s", UUID(int=7))
        ask("RESET ROLE; SET LOCAL search_path = public")
        assert ask("SELECT user_id, deleted FROM public.erased_users ORDER BY user_id") == sorted(
            [(anonymized.pk, False), (deleted_user.pk, True), (other.pk, False), (UUID(int=7), True)]
        )
        assert not traps_have_run()


@pytest.mark.parametrize("function", ["refuse_data_of_erased_users", "refuse_rows_of_erased_users"])
def test_traps__run_as_the_owner_with_another_search_path(function: str) -> None:
    """This proves that the traps of the test above work."""
    anonymized = full_life()
    anonymize(anonymized.pk)
    with attacker_role():
        ask(f"ALTER FUNCTION {function}() SET search_path = public, pg_catalog, pg_temp")
        ask(f"SET LOCAL ROLE {ATTACKER}")
        set_traps()
        for statement in (
            NEW_VIDEO,
            "UPDATE public.videos SET storage_url = 'https://example.com/v' WHERE user_id OPERATOR(pg_catalog.=) %s",
        ):
            with suppress(DatabaseError), transaction.atomic():
                ask(statement, anonymized.pk)
        ask("RESET ROLE; SET LOCAL search_path = public")
        assert traps_have_run()


def test_functions__with_security_definer__are_closed() -> None:
    """The test checks every function of the database, so also those of later migrations."""
    found = ask(DEFINERS)
    assert len(found) > 10
    assert [name for name, settings, public in found if settings != ["search_path=pg_catalog, pg_temp"] or public] == []
