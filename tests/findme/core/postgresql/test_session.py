"""A session does not depend on the default settings of a role, a database or the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext

from findme.core.postgresql.session import PINNED, REPLICATION_ROLE

ANOTHER_VALUE = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "extra_float_digits": "-10",
    "row_security": "on",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "TimeZone": "America/St_Johns",
    "synchronous_commit": "off",
}
EXPECTED = PINNED | {"TimeZone": "UTC", "synchronous_commit": "on"}


@contextmanager
def session(**defaults: str) -> Iterator[BaseDatabaseWrapper]:
    """A new connection with these defaults, as a role or a database would set them."""
    made = connection.copy()
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in defaults.items())
    made.settings_dict["OPTIONS"] = {**made.settings_dict["OPTIONS"], "options": options}
    with closing(made):
        yield made


def ask(connected: BaseDatabaseWrapper, query: str, *parameters: str | datetime) -> object:
    with connected.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]


@pytest.mark.django_db
def test_pin_settings__all_defaults_differ() -> None:
    assert ANOTHER_VALUE.keys() == EXPECTED.keys()
    with session(**ANOTHER_VALUE) as made:
        found = {name: ask(made, "SELECT current_setting(%s)", name) for name in EXPECTED}
        before = {name: ask(made, "SELECT reset_val FROM pg_settings WHERE name = %s", name) for name in EXPECTED}
    assert found == EXPECTED
    assert before == ANOTHER_VALUE


@pytest.mark.django_db
def test_pin_settings__values_arrive_unchanged() -> None:
    moment = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)
    with session(**ANOTHER_VALUE) as made:
        assert ask(made, "SELECT %s::timestamptz", moment) == moment
        assert ask(made, "SELECT interval '1 day 2 hours'") == timedelta(days=1, hours=2)
        assert ask(made, "SELECT array_position('{NULL,a}'::text[], NULL)") == 1
        assert ask(made, "SELECT (1/3::float8)::text::float8 = 1/3::float8") is True
        assert ask(made, r"SELECT length('\n')") == 2


@pytest.mark.django_db
@pytest.mark.parametrize("stricter", ["local", "remote_apply"])
def test_pin_settings__synchronous_commit_is_not_changed(stricter: str) -> None:
    with session(synchronous_commit=stricter) as made:
        assert ask(made, "SHOW synchronous_commit") == stricter


@pytest.mark.django_db
def test_pin_settings__takes_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the statements with the cursor of the new session."""
    statements: list[object] = []
    with session() as made:
        original = made.get_new_connection

        def counted(parameters: dict[str, object]) -> object:
            new = original(parameters)
            cursor_factory = new.cursor_factory

            class Counted(cursor_factory):  # type: ignore[misc, valid-type]  # the class is the connection's own
                def execute(self, query: object, *rest: object, **options: object) -> object:
                    statements.append(query)
                    return super().execute(query, *rest, **options)

            new.cursor_factory = Counted
            return new

        monkeypatch.setattr(made, "get_new_connection", counted)
        made.connect()
    assert len([query for query in statements if b"set_config" in (query if isinstance(query, bytes) else b"")]) == 1
    assert len(statements) <= 2  # Django's statement sets the time zone if it differs


@pytest.mark.django_db
def test_pin_settings__triggers_that_would_not_fire__are_turned_on_by_a_superuser() -> None:
    with session(**{REPLICATION_ROLE: "replica"}) as made:
        assert ask(made, f"SHOW {REPLICATION_ROLE}") == "origin"


@pytest.mark.django_db
def test_pin_settings__a_session_that_cannot_be_pinned_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ImproperlyConfigured("it cannot be pinned")

    monkeypatch.setattr("findme.core.postgresql.base.pin_settings", refuse)
    with session() as made:
        for _ in range(2):  # the second use must not get the session of the first
            with pytest.raises(ImproperlyConfigured), made.cursor():
                pass
            assert made.connection is None


@pytest.mark.django_db
def test_pin_settings__is_not_among_the_queries_of_a_request() -> None:
    with session() as made, CaptureQueriesContext(made) as captured:
        ask(made, "SELECT 1")
    assert [query["sql"] for query in captured.captured_queries] == ["SELECT 1"]
