"""Dates and times that PostgreSQL can store and Python cannot.

They are the infinities and years before 1 or after 9999.

The columns of this project reject them (``findme.core.db.dates``), but a superuser can still store one. psycopg then raises an error for the whole
query. So every connection gets loaders that return a stand-in, which keeps the text that PostgreSQL sent.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Self, SupportsIndex

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import DataError, abc
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.datetime import DateDumper, DatetimeDumper

EARLIEST, LATEST = date(1, 1, 2), date(9999, 12, 30)
"""The value of a stand-in in comparisons. It is one day inside Python's range, so every time zone can show it."""

DAYS_OF_A_CYCLE, YEARS_OF_A_CYCLE = 146_097, 400
"""The calendar repeats after 400 years."""


class Unreadable:
    """A date or time that Python cannot represent.

    ``text`` is PostgreSQL's text of the value. Exports, forms and SQL parameters use it. In comparisons the value is the nearest supported date.
    The result of arithmetic has no text and is an ordinary date.
    """

    text: str = ""

    def isoformat(self, *args: Any, **kwargs: Any) -> str:
        return self.text or super().isoformat(*args, **kwargs)  # type: ignore[misc]  # date's or datetime's

    def strftime(self, pattern: str) -> str:
        return self.text or super().strftime(pattern)  # type: ignore[misc]  # date's or datetime's

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Keep the text in a copy. The method of ``date`` does not."""
        return (type(self).from_text, (self.text,)) if self.text else super().__reduce_ex__(protocol)

    @classmethod
    def from_text(cls, text: str) -> Self:
        raise NotImplementedError


class UnreadableDate(Unreadable, date):
    @classmethod
    def from_text(cls, text: str) -> Self:
        day = _nearest(text)
        found = cls(day.year, day.month, day.day)
        found.text = text
        return found


class UnreadableDateTime(Unreadable, datetime):
    @classmethod
    def from_text(cls, text: str) -> Self:
        day = _nearest(text)
        found = cls(day.year, day.month, day.day, tzinfo=UTC)
        found.text = text
        return found

    def astimezone(self, tz: Any = None) -> Self:
        """Return ``self``: the value is out of range in every time zone."""
        return self

    def replace(self, *args: Any, **kwargs: Any) -> Self:
        found = super().replace(*args, **kwargs)
        found.text = self.text
        return found

    def date(self) -> UnreadableDate:
        return UnreadableDate.from_text(self.text)


def _nearest(text: str) -> date:
    return EARLIEST if text == "-infinity" or text.endswith("BC") else LATEST


class _TolerantLoader(Loader):
    """Call the previous loader of the connection. If it cannot read a value, return a stand-in.

    It does not inherit from that loader, because psycopg's fast loaders ignore a Python method ``load``.
    """

    other: ClassVar[type[abc.Loader]]
    stand_in: ClassVar[type[UnreadableDate | UnreadableDateTime]]

    def __init__(self, oid: int, context: abc.AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._read = self.other(oid, context).load

    def load(self, data: abc.Buffer) -> Any:
        try:
            return self._read(data)
        except DataError:
            return self.stand_in.from_text(self.text_of(bytes(data)))

    @staticmethod
    def text_of(data: bytes) -> str:
        return data.decode()


class _TolerantBinaryLoader(_TolerantLoader):
    """A loader for the binary format: days or microseconds since 2000-01-01.

    The lowest and the highest number are the infinities.
    """

    format = Format.BINARY

    @staticmethod
    def text_of(data: bytes) -> str:
        (number,) = struct.unpack("!i" if len(data) == 4 else "!q", data)
        highest = 2 ** (8 * len(data) - 1) - 1
        if number in (highest, -highest - 1):
            return "infinity" if number > 0 else "-infinity"
        if len(data) == 4:
            return _date_text(number)
        days, microseconds = divmod(number, 86_400_000_000)
        return _date_text(days, f" {datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds):%H:%M:%S.%f}+00")


def _date_text(days: int, time: str = "") -> str:
    cycles, rest = divmod(days, DAYS_OF_A_CYCLE)
    day = date(2000, 1, 1) + timedelta(rest)
    year = day.year + cycles * YEARS_OF_A_CYCLE
    return f"{year:04d}-{day:%m-%d}{time}" if year > 0 else f"{1 - year:04d}-{day:%m-%d}{time} BC"


class _DateDumper(DateDumper):
    """Send the original text, so that a row keeps its value when it is saved."""

    def dump(self, obj: Any) -> abc.Buffer | None:
        return str(obj).encode()


class _DateTimeDumper(DatetimeDumper):
    def dump(self, obj: Any) -> abc.Buffer | None:
        return str(obj).encode()


READ: tuple[tuple[str, type[Any]], ...] = (
    ("date", UnreadableDate),
    ("timestamp", UnreadableDateTime),
    ("timestamptz", UnreadableDateTime),
)
WRITTEN: tuple[tuple[type, type[Dumper]], ...] = ((UnreadableDate, _DateDumper), (UnreadableDateTime, _DateTimeDumper))


def register_date_loaders(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Register loaders that can read every date on a new connection. Receiver of ``connection_created``."""
    adapters: AdaptersMap = connection.connection.adapters
    for name, stand_in in READ:
        for format_ in (Format.TEXT, Format.BINARY):
            loader = adapters.get_loader(adapters.types[name].oid, format_)
            if loader is not None and not issubclass(loader, _TolerantLoader):
                adapters.register_loader(name, _tolerant(loader, stand_in))  # type: ignore[arg-type]  # a class is hashable
    for kind, dumper in WRITTEN:
        adapters.register_dumper(kind, dumper)


@cache
def _tolerant(other: type[Any], stand_in: type[Any]) -> type[Loader]:
    """Return a subclass of the tolerant loader that calls ``other``."""
    # Django compares the ``timezone`` of the registered loader with its own. If they differ, it registers its own loader again.
    inherited = {"timezone": other.timezone} if hasattr(other, "timezone") else {}
    mixed = _TolerantBinaryLoader if other.format == Format.BINARY else _TolerantLoader
    return type(f"Tolerant{other.__name__}", (mixed,), {"__module__": __name__, "other": other, "stand_in": stand_in, **inherited})
