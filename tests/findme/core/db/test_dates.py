"""Every column with a date or time has a constraint to values that Python can read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import DateField, Model

from accounts.models import User
from findme.core.db.dates import SupportedDate, is_supported
from findme.core.values.unreadable import UnreadableDate, UnreadableDateTime

OURS = {"accounts", "videos", "matching", "calls", "vectorstore"}


def date_columns(model: type[Model]) -> set[str]:
    """DateTimeField is a subclass of DateField."""
    return {field.name for field in model._meta.concrete_fields if isinstance(field, DateField)}


def our_models() -> list[type[Model]]:
    return [model for model in apps.get_models() if model._meta.app_label in OURS and date_columns(model)]


@pytest.mark.parametrize("model", our_models(), ids=lambda model: model._meta.label)
def test_models__every_date_has_its_constraint(model: type[Model]) -> None:
    declared = {one.field: one.name for one in model._meta.constraints if isinstance(one, SupportedDate)}
    assert declared == {name: f"{model._meta.db_table}_{name}_range_check" for name in date_columns(model)}


def test_database__every_date_column_of_our_tables_has_a_valid_check(db: None) -> None:
    """This includes tables without a model, but not the tables of packages: no service writes them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname || '_' || a.attname || '_range_check' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
              AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) AND c.relname !~ '^(django|axes)_'
            EXCEPT SELECT conname FROM pg_constraint WHERE contype = 'c' AND convalidated
            """
        )
        assert cursor.fetchall() == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(1, 1, 1), False),
        (date(1, 1, 2), True),
        (date(9999, 12, 30), True),
        (date(9999, 12, 31), False),
        (datetime(1, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC), False),
        (datetime(1, 1, 2, tzinfo=UTC), True),
        (datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC), True),
        (datetime(9999, 12, 31, tzinfo=UTC), False),
        (datetime(1, 1, 2, tzinfo=timezone(timedelta(hours=1))), False),
        (datetime(9999, 12, 31, tzinfo=timezone(timedelta(hours=1))), True),
        (datetime(9999, 12, 31), False),  # noqa: DTZ001
        (UnreadableDate.from_text("infinity"), False),
        (UnreadableDateTime.from_text("-infinity"), False),
        (None, True),
        ("yesterday", True),
    ],
)
def test_is_supported__at_the_limits(value: object, expected: bool) -> None:
    assert is_supported(value) is expected


def test_validate__names_the_range_on_the_field() -> None:
    (constraint,) = [one for one in User._meta.constraints if one.name == "users_date_of_birth_range_check"]
    with pytest.raises(ValidationError, match="A date must be from 0001-01-02 to 9999-12-30"):
        constraint.validate(User, User(date_of_birth=date(9999, 12, 31)))
    constraint.validate(User, User(date_of_birth=date(9999, 12, 31)), exclude={"date_of_birth"})
