"""SQL expressions for the constraints, indexes and defaults of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, Value
from django.db.models.sql.compiler import SQLCompiler


class IsAmong(Func):
    """``column = ANY (array)``. ``array`` is the text of an array (``findme.core.postgresql.arrays``), so many values need one parameter.

    ``IN`` needs a parameter for each value. With 1,000 values, psycopg takes longer to prepare it than PostgreSQL to execute it.
    """

    arity = 2
    arg_joiner = " = ANY ("
    output_field = models.BooleanField()

    def __init__(self, column: str, array: str, element: str = "uuid") -> None:
        super().__init__(F(column), Value(array))
        self.template = f"(%(expressions)s::{element}[]))"


class EnglishSearchVector(Func):
    """``to_tsvector('english', column)`` without COALESCE.

    Django's ``SearchVector`` adds a COALESCE. With it, the query of the guide would not use the index.
    """

    function = "to_tsvector"

    def __init__(self, column: str, **extra: Any) -> None:
        super().__init__(Value("english"), F(column), output_field=models.TextField(), **extra)


class _OfOneArgument(Func):
    """A function whose template uses its only argument several times.

    When ``full_clean()`` checks a row by a query, the argument is a value and not a column. Then the query needs its parameter for each use. Django
    passes it once: the query would fail, and Django would count the check as passed. A value of None becomes NULL. Django would send the ``null``
    of JSON.
    """

    arity = 1

    def as_sql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,
        function: str | None = None,
        template: str | None = None,
        arg_joiner: str | None = None,
        **extra_context: Any,
    ) -> tuple[str, tuple[str | int, ...]]:
        (argument,) = self.get_source_expressions()
        if isinstance(argument, Value) and argument.value is None:
            return "NULL", ()
        template = template or self.template
        sql, parameters = super().as_sql(compiler, connection, function, template, arg_joiner, **extra_context)
        return sql, tuple(parameters) * template.count("%(expressions)s")


class IsoWeeksInYear(_OfOneArgument):
    """The number of ISO weeks (52 or 53) of an ISO year from 1 to 9999, otherwise NULL.

    28 December is always in the last week (ISO 8601). ``make_date`` raises an error for the year 0, and the CASE prevents that call.
    """

    template = "CASE WHEN %(expressions)s BETWEEN 1 AND 9999 THEN extract(week FROM make_date(%(expressions)s, 12, 28))::integer END"
    output_field = models.IntegerField()


class FirstDayOfYear(_OfOneArgument):
    """The first day of the year of a date: 1 January, or 0001-01-02, the first date that the columns accept. ``infinity`` stays.

    ``date_trunc`` fails for dates that are out of the range of times.
    """

    template = "greatest(%(expressions)s - coalesce(extract(doy FROM %(expressions)s), 1)::integer + 1, '0001-01-02')"
    output_field = models.DateField()


class _ArrayCondition(_OfOneArgument):
    """A condition on an array of one dimension. NULL passes.

    ``array_position`` raises an error for other arrays, so the CASE calls it for one dimension only.
    """

    condition = ""
    output_field = models.BooleanField()

    @property
    def template(self) -> str:  # type: ignore[override]
        return f"CASE WHEN array_ndims(%(expressions)s) > 1 THEN false ELSE {self.condition} END"


class HasLength(_ArrayCondition):
    """An array of one dimension with exactly ``length`` elements."""

    def __init__(self, column: str | F, *, length: int) -> None:
        super().__init__(column)
        self.condition = f"cardinality(%(expressions)s) = {int(length)}"


class HasAtMost(_ArrayCondition):
    """An array of one dimension with at most ``most`` elements."""

    def __init__(self, column: str | F, *, most: int) -> None:
        super().__init__(column)
        self.condition = f"cardinality(%(expressions)s) <= {int(most)}"


class HasShortTexts(_ArrayCondition):
    """An array of texts with at most ``longest`` characters in each.

    A CHECK cannot use a subquery to check each element. The cast cuts each text, so an array with a longer text changes.
    """

    def __init__(self, column: str | F, *, longest: int) -> None:
        super().__init__(column)
        self.condition = f"%(expressions)s = %(expressions)s::varchar({int(longest)})[]::text[]"


class IsFinite(_ArrayCondition):
    """No NaN, no infinity and no NULL among the elements."""

    condition = " AND ".join(
        f"array_position(%(expressions)s, {element}) IS NULL" for element in ("'NaN'", "'Infinity'", "'-Infinity'", "NULL")
    )


class HasOnlyTexts(_ArrayCondition):
    """No NULL and no empty text among the elements."""

    condition = "array_position(%(expressions)s, NULL) IS NULL AND array_position(%(expressions)s, '') IS NULL"


class IsNotZero(_ArrayCondition):
    """Not all elements are 0: a vector of zeros has no direction and no cosine similarity."""

    condition = "0 <> ANY (%(expressions)s)"


class IsGeoPoint(_OfOneArgument):
    """A JSON object with only ``lat``, a number from -90 to 90, and ``lon``, a number from -180 to 180."""

    template = (
        "CASE WHEN jsonb_typeof(%(expressions)s) IS DISTINCT FROM 'object' THEN %(expressions)s IS NULL"
        " WHEN jsonb_typeof(%(expressions)s -> 'lat') = 'number' AND jsonb_typeof(%(expressions)s -> 'lon') = 'number'"
        " THEN (%(expressions)s -> 'lat')::numeric BETWEEN -90 AND 90 AND (%(expressions)s -> 'lon')::numeric BETWEEN -180 AND 180"
        " AND %(expressions)s - 'lat' - 'lon' = '{}' ELSE false END"
    )
    output_field = models.BooleanField()


class IsSupportedDate(_OfOneArgument):
    """A date or time from 0001-01-02 to 9999-12-30 (UTC), which Python can read in every time zone.

    For a date, PostgreSQL uses only the date of these literals.
    """

    template = "(%(expressions)s >= '0001-01-02 00:00:00+00' AND %(expressions)s < '9999-12-31 00:00:00+00')"
    output_field = models.BooleanField()


class HasBytes(_OfOneArgument):
    """A text of at most ``most`` bytes in UTF-8."""

    output_field = models.BooleanField()

    def __init__(self, column: str | F, *, most: int) -> None:
        super().__init__(column)
        self.template = f"octet_length(%(expressions)s) <= {int(most)}"


class ClockTimestamp(Func):
    """``clock_timestamp()``: the current time. ``now()`` is the start time of the transaction."""

    function = "clock_timestamp"
    arity = 0
    output_field = models.DateTimeField()


class EarliestToday(Func):
    """The date in the time zone where the day begins last (UTC-12). An earlier date is over in every time zone."""

    template = "(clock_timestamp() AT TIME ZONE 'UTC' - interval '12 hours')::date"
    arity = 0
    output_field = models.DateField()


class IsDigest(_OfOneArgument):
    """32 bytes that are no plain text: at least one byte is neither zero nor a printable character of ASCII. NULL passes.

    A digest has only such bytes with a probability of 2e-14.
    """

    template = "(octet_length(%(expressions)s) = 32 AND encode(%(expressions)s, 'hex') !~ '^(00|[2-6][0-9a-f]|7[0-9a-e])*$')"
    output_field = models.BooleanField()


class IsSignature(_OfOneArgument):
    """64 bytes that are no plain text, as in ``IsDigest``. NULL passes."""

    template = "(octet_length(%(expressions)s) = 64 AND encode(%(expressions)s, 'hex') !~ '^(00|[2-6][0-9a-f]|7[0-9a-e])*$')"
    output_field = models.BooleanField()


class HasCounts(_OfOneArgument):
    """A JSON object with only ``names`` as keys and only whole numbers, 0 or more, as values."""

    output_field = models.BooleanField()

    def __init__(self, column: str | F, *, names: Sequence[str]) -> None:
        super().__init__(column)
        keys = "|".join(names)
        self.template = f"%(expressions)s::text ~ '^\\{{(\"({keys})\": \\d{{1,15}}(, |(?=\\}}$)))*\\}}$'"
