"""The one obvious remedy of a rule, as an app lists it.

An AppConfig uses this module before the models are loaded. So it imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remedy:
    """What ``baseline --fix RULE`` does with rows that break the rule.

    An app lists its remedies in ``remedies`` of its AppConfig. An UPDATE sets ``column`` to the SQL expression ``value``.
    """

    rule: str
    description: str
    """An imperative sentence without its full stop: ``set verified to false``."""
    column: str
    value: str
    rows: str | None = None
    """SQL that is true for the rows to change, if these are not all rows that break the rule."""
    tables: tuple[str, ...] = ()
    """Other tables that ``rows`` reads. The first remedy of a rule whose tables exist is used."""
