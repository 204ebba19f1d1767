"""Compare the triggers of the database with the triggers that the migrations created.

A trigger can be lost without an error. A killed ``pg_restore --disable-triggers`` leaves it disabled, and one that ends enables it without ALWAYS.
``pg_restore --clean -t users`` creates the table without the trigger. After that, changes are not captured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from findme.core.triggers.definitions import Trigger, TriggerFunction, TriggerSchema, expected_triggers

ORIGIN, ALWAYS = "O", "A"
STATES = {"D": "disabled", "R": "enabled for session_replication_role = replica only", ORIGIN: "enabled, but not ALWAYS"}

_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_DEFINITION = re.compile(
    rf"CREATE (?:CONSTRAINT )?TRIGGER {_NAME} (?P<event>.+?) ON {_NAME}(?:\.{_NAME})? (?P<rest>.*?) ?EXECUTE FUNCTION [^(]+\((?P<arguments>.*)\)$"
)

_TRIGGERS = """
    SELECT e.number, t.tgconstraint <> 0, t.tgenabled::text, pg_get_triggerdef(t.oid), p.proname::text, p.pronamespace = c.relnamespace
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS e (table_name, name, number)
    JOIN pg_class c ON c.oid = to_regclass(quote_ident(e.table_name))
    JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = e.name AND NOT t.tgisinternal
    JOIN pg_proc p ON p.oid = t.tgfoid
"""
_FUNCTIONS = """
    SELECT e.number, p.prosecdef, p.proconfig, p.prosrc, has_function_privilege('public', p.oid, 'EXECUTE')
    FROM unnest(%s::text[], %s::int[]) WITH ORDINALITY AS e (name, parameters, number)
    JOIN pg_proc p ON p.proname = e.name AND p.pronargs = e.parameters
    WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(quote_ident(%s)))
"""
_FOREIGN_KEYS = """
    SELECT DISTINCT quote_ident(c.relname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgisinternal AND t.tgenabled = 'D'
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(quote_ident(%s)))
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class ForeignKeys:
    """The foreign keys from and to a table. PostgreSQL enforces them by internal triggers.

    ``triggers`` are the triggers that the migrations created on the table.
    """

    table: str
    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class TriggerProblem:
    """A difference from the migrations. Changes of ``tables`` may have been missed because of it."""

    subject: str
    state: str
    about: Trigger | TriggerFunction | ForeignKeys
    tables: tuple[str, ...]
    must_drop: bool = False
    """Whether the trigger exists and must be dropped before it is created: PostgreSQL cannot replace a constraint trigger, or a trigger by one."""

    @property
    def only_disabled(self) -> bool:
        """Whether the trigger is as the migration created it, and must only be enabled."""
        return self.state in STATES.values()

    def __str__(self) -> str:
        return f"{self.subject}: {self.state}"


def trigger_problems(using: str = DEFAULT_DB_ALIAS, applied: Collection[str] | None = None) -> tuple[TriggerProblem, ...]:
    """Return triggers and functions that differ from the migrations, and tables without foreign keys.

    The foreign keys of such a table exist but are disabled. Runs three short queries for tables of any size, and two more without ``applied``, the applied migrations (``app.name``).
    """
    if applied is None:
        applied = {f"{app}.{name}" for app, name in MigrationRecorder(connections[using]).applied_migrations()}
    expected = expected_triggers(applied)
    return tuple(_problems(connections[using], expected)) if expected.triggers else ()


def _problems(connection: BaseDatabaseWrapper, expected: TriggerSchema) -> Iterator[TriggerProblem]:
    anchor = expected.triggers[0].table
    with connection.cursor() as cursor:
        names, parameters = [function.name for function in expected.functions], [function.parameters for function in expected.functions]
        cursor.execute(_FUNCTIONS, [names, parameters, anchor])
        functions = {number: rest for number, *rest in cursor.fetchall()}
        cursor.execute(_TRIGGERS, [[trigger.table for trigger in expected.triggers], [trigger.name for trigger in expected.triggers]])
        triggers = {number: rest for number, *rest in cursor.fetchall()}
        cursor.execute(_FOREIGN_KEYS, [anchor])
        without_foreign_keys = [table for (table,) in cursor.fetchall()]
    for number, function in enumerate(expected.functions, start=1):
        state = _function_state(function, *functions[number]) if number in functions else "missing"
        if state is not None:
            tables = tuple(sorted({trigger.table for trigger in expected.triggers if trigger.function == function.name}))
            yield TriggerProblem(f"function {function.name}()", state, function, tables)
    for number, trigger in enumerate(expected.triggers, start=1):
        is_constraint, *found = triggers.get(number, (False,))
        state = _trigger_state(trigger, is_constraint, *found) if found else "missing"
        if state is not None:
            problem = TriggerProblem(f"trigger {trigger.name} on {trigger.table}", state, trigger, (trigger.table,))
            must_drop = bool(found) and not problem.only_disabled and (is_constraint or trigger.is_constraint)
            yield replace(problem, must_drop=must_drop)
    for table in without_foreign_keys:
        own = tuple(trigger for trigger in expected.triggers if trigger.table == table)
        yield TriggerProblem(
            f"foreign keys of {table}", "not enforced, and only a superuser can repair it", ForeignKeys(table, own), (table,)
        )


def _function_state(function: TriggerFunction, definer: bool, settings: list[str] | None, body: str, public: bool) -> str | None:
    # Restored with quote_all_identifiers, the names in the setting have quotes.
    paths = [setting.removeprefix("search_path=").replace('"', "") for setting in settings or () if setting.startswith("search_path=")]
    found, expected = (paths[0] if paths else None), function.search_path
    if found != expected:
        return f"its search_path is {found or 'not set'} and should be {expected or 'not set'}"
    if definer != function.security_definer:
        return f"it is {'' if definer else 'not '}SECURITY DEFINER"
    if function.body is not None and body.split() != function.body.split():
        return f"not as {function.migration} created it"
    return "any role may execute it" if public and not function.public else None


def _trigger_state(trigger: Trigger, is_constraint: bool, enabled: str, definition: str, function: str, same_schema: bool) -> str | None:
    found = _DEFINITION.match(definition)
    parts = " ".join(f"{found['event']} {found['rest']}".split()) if found else definition
    arguments = found["arguments"] if found else None
    expected = (trigger.definition, trigger.function, trigger.arguments, trigger.is_constraint, True)
    if (parts, function, arguments, is_constraint, same_schema) != expected:
        return f"not as {trigger.migration} created it"
    return None if enabled == ALWAYS or (enabled == ORIGIN and not trigger.always) else STATES[enabled]
