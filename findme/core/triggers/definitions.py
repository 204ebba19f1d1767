"""The triggers and trigger functions that the migrations create, read from their SQL files.

An app lists its files in ``trigger_files`` of its AppConfig: the migration, and the name of the file that the migration runs by ``sql_file``.
A later file replaces the definition of the same trigger or function in an earlier file. Every statement can be run again, except that a constraint
trigger must be dropped first.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.apps import apps


@dataclass(frozen=True, slots=True)
class TriggerFunction:
    """A trigger function, or a function that belongs to triggers. ``body`` is None if PostgreSQL stores it parsed (``BEGIN ATOMIC``)."""

    name: str
    parameters: int
    """Their number."""
    migration: str
    statement: str
    body: str | None
    security_definer: bool
    search_path: str | None
    public: bool
    """Whether any role may execute it."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a table.

    ``definition`` is the SQL between the name and EXECUTE, without the table: ``AFTER DELETE REFERENCING ... FOR EACH STATEMENT``.
    """

    table: str
    name: str
    migration: str
    statement: str
    definition: str
    function: str
    arguments: str
    """In SQL notation: ``'user_id', 'storage_url'``."""
    always: bool
    """Whether it also fires with ``session_replication_role = replica``."""
    is_constraint: bool
    """Whether it is a constraint trigger. PostgreSQL cannot replace one, nor replace another trigger by one."""


@dataclass(frozen=True, slots=True)
class TriggerSchema:
    functions: tuple[TriggerFunction, ...]
    triggers: tuple[Trigger, ...]


_FUNCTION = re.compile(
    r"^CREATE (?:OR REPLACE )?FUNCTION (?P<name>\w+)\((?P<parameters>[^)]*)\)(?P<head>.*?)(?:AS (?P<quote>\$\w*\$)(?P<body>.*?)(?P=quote)|^BEGIN ATOMIC\n.*?^END);",
    re.DOTALL | re.MULTILINE,
)
_TRIGGER = re.compile(
    r"^CREATE (?:OR REPLACE |(?P<constraint>CONSTRAINT ))?TRIGGER (?P<name>\w+)\s+(?P<event>[^;]*?)\s+ON (?P<table>\w+)\s+(?P<rest>[^;]*?)\s+EXECUTE FUNCTION (?P<function>\w+)\((?P<arguments>[^)]*)\);",
    re.MULTILINE,
)
_ALWAYS = re.compile(r"^ALTER TABLE (\w+) ENABLE ALWAYS TRIGGER (\w+);", re.MULTILINE)
_REVOKED = re.compile(r"^REVOKE ALL ON FUNCTION (\w+)\([^)]*\) FROM PUBLIC;", re.MULTILINE)
_SEARCH_PATH = re.compile(r"SET search_path = ([\w, ]+\w)")


def expected_triggers(applied: Collection[str] | None = None) -> TriggerSchema:
    """Return the triggers of the ``applied`` migrations (``app.name``), by default of all migrations."""
    functions: dict[str, TriggerFunction] = {}
    triggers: dict[tuple[str, str], Trigger] = {}
    for config in apps.get_app_configs():
        for migration, name in getattr(config, "trigger_files", ()):
            if applied is None or f"{config.label}.{migration}" in applied:
                found = read_triggers(Path(config.path) / "migrations" / "sql" / f"{name}.up.sql", f"{config.label}.{migration}")
                functions |= {function.name: function for function in found.functions}
                triggers |= {(trigger.table, trigger.name): trigger for trigger in found.triggers}
    return TriggerSchema(tuple(functions.values()), tuple(triggers.values()))


@cache
def read_triggers(path: Path, migration: str) -> TriggerSchema:
    sql = path.read_text()
    revoked, always = set(_REVOKED.findall(sql)), set(_ALWAYS.findall(sql))
    functions = tuple(_function(found, migration, public=found["name"] not in revoked) for found in _FUNCTION.finditer(sql))
    triggers = tuple(_trigger(found, migration, always=(found["table"], found["name"]) in always) for found in _TRIGGER.finditer(sql))
    return TriggerSchema(functions, triggers)


def _function(found: re.Match[str], migration: str, *, public: bool) -> TriggerFunction:
    path = _SEARCH_PATH.search(found["head"])
    return TriggerFunction(
        name=found["name"],
        parameters=len(list(filter(str.strip, found["parameters"].split(",")))),
        migration=migration,
        statement=_or_replace(found[0]),
        body=found["body"],
        security_definer="SECURITY DEFINER" in found["head"],
        search_path=path[1] if path else None,
        public=public,
    )


def _trigger(found: re.Match[str], migration: str, *, always: bool) -> Trigger:
    return Trigger(
        table=found["table"],
        name=found["name"],
        migration=migration,
        statement=found[0] if found["constraint"] else _or_replace(found[0]),
        definition=" ".join(f"{found['event']} {found['rest']}".split()),
        function=found["function"],
        arguments=" ".join(found["arguments"].split()),
        always=always,
        is_constraint=bool(found["constraint"]),
    )


def _or_replace(statement: str) -> str:
    return re.sub(r"^CREATE (OR REPLACE )?", "CREATE OR REPLACE ", statement)
