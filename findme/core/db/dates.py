"""The range of dates and times in columns: Python can read them in every time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models import F

from findme.core.db.expressions import IsSupportedDate
from findme.core.values.unreadable import Unreadable

FIRST_DATE, LAST_DATE = date(1, 1, 2), date(9999, 12, 30)
FIRST_TIME, END_OF_TIMES = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""``END_OF_TIMES`` is the first time that is out of range."""


class SupportedDate(models.CheckConstraint):
    """A CHECK that a date or time is from 0001-01-02 to 9999-12-30 (UTC), and finite.

    PostgreSQL also stores ``infinity`` and years up to 294276, and Python cannot read a row with such a value. The range leaves out a day at both
    ends, so that a time can be converted to every time zone. NULL passes.
    """

    default_violation_error_message = "A date must be from 0001-01-02 to 9999-12-30."

    def __init__(self, *, field: str, name: str, **options: Any) -> None:
        self.field = field
        super().__init__(condition=IsSupportedDate(F(field)), name=name, **options)

    def validate(
        self, model: type[models.Model], instance: models.Model, exclude: set[str] | None = None, using: str = DEFAULT_DB_ALIAS
    ) -> None:
        """Raise ValidationError for a date out of range. Python checks it, without a query."""
        field: Any = model._meta.get_field(self.field)
        if self.field not in (exclude or ()) and not is_supported(getattr(instance, field.attname)):
            raise ValidationError(self.get_violation_error_message(), code=self.violation_error_code)

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        del kwargs["condition"]
        return path, tuple(args), {"field": self.field, **kwargs}


def supported_dates(table: str, *fields: str) -> list[SupportedDate]:
    """Return a ``SupportedDate`` for each field, for ``Meta.constraints``, named after table and field."""
    return [SupportedDate(field=field, name=f"{table}_{field}_range_check") for field in fields]


def is_supported(value: object) -> bool:
    """Return whether a column with a ``SupportedDate`` can hold ``value``. A value that is no date passes."""
    if isinstance(value, Unreadable):
        return False
    if isinstance(value, datetime):
        return FIRST_TIME <= (value if value.tzinfo else value.replace(tzinfo=UTC)) < END_OF_TIMES
    return not isinstance(value, date) or FIRST_DATE <= value <= LAST_DATE
