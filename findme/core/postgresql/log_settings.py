"""PostgreSQL settings that can write values of rows to the server log, and the values that prevent it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, connections


@dataclass(frozen=True, slots=True)
class LogSetting:
    """A setting, its value in this session, the wanted value, and what PostgreSQL logs without it."""

    name: str
    value: str
    wanted: str
    consequence: str


@dataclass(frozen=True, slots=True)
class _Rule:
    allowed: frozenset[str]
    wanted: str
    consequence: str

    def allows(self, value: str | None) -> bool:
        """Return whether the value is allowed. A setting of an extension that is not loaded is None."""
        return value is None or value in self.allowed


def _rule(consequence: str, wanted: str, *also_allowed: str) -> _Rule:
    return _Rule(frozenset((wanted, *also_allowed)), wanted, consequence)


RULES = {
    # FATAL is not enough: when an administrator ends a session, PostgreSQL logs its statement at this level.
    "log_min_error_statement": _rule("each statement that fails", "panic"),
    "log_error_verbosity": _rule("the row that a constraint rejects (DETAIL)", "terse"),
    "log_parameter_max_length_on_error": _rule("the parameters of a statement that fails", "0"),
    "log_min_messages": _rule("a value that has the wrong type, in the message itself", "log", "fatal", "panic"),
    "log_statement": _rule("each statement", "none", "ddl"),
    "log_min_duration_statement": _rule("each slow statement", "-1"),
    "log_min_duration_sample": _rule("a sample of the slow statements", "-1"),
    "log_transaction_sample_rate": _rule("all statements of some transactions", "0"),
    "debug_print_parse": _rule("each statement, parsed", "off"),
    "debug_print_rewritten": _rule("each statement, rewritten", "off"),
    "debug_print_plan": _rule("the plan of each statement", "off"),
    "auto_explain.log_min_duration": _rule("the plan of each slow statement", "-1"),
    "pgaudit.log": _rule("each statement that pgaudit records", "none", ""),
}


def leaking_log_settings(using: str = DEFAULT_DB_ALIAS) -> tuple[LogSetting, ...]:
    """Return the settings that let a session of this database write values of rows to the server log."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name, current_setting(name, true) FROM unnest(%s::text[]) AS name", [list(RULES)])
        return tuple(_leaking(dict(cursor.fetchall())))


def _leaking(values: dict[str, str | None]) -> Iterator[LogSetting]:
    for name, rule in RULES.items():
        value = values[name]
        if value is not None and not rule.allows(value):
            yield LogSetting(name, value, rule.wanted, rule.consequence)
