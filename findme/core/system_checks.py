"""Django's system checks of the database. They run only where a command names a database: ``check --database default``, ``migrate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004  # Django's name

from findme.core.postgresql.log_settings import LogSetting, leaking_log_settings
from findme.core.triggers.problems import trigger_problems

HINT = "Run manage.py verify_qdrant --repair."


def check_triggers(databases: Sequence[str] | None = None, **_app_configs: Any) -> list[CheckMessage]:
    """W001 for each trigger, trigger function or foreign key that is not as the applied migrations created it.

    A warning, so that ``migrate`` is not refused: a migration may be what creates the trigger again.
    """
    return [
        Warning(f"In the database {alias!r}, not as migrated: {problem}", hint=HINT, id="findme.W001")
        for alias in databases or ()
        for problem in trigger_problems(alias)
    ]


def check_server_log(databases: Sequence[str] | None = None, **_app_configs: Any) -> list[CheckMessage]:
    """W002 for a server that writes values of rows into its log, with the settings to change."""
    return [_of_server_log(alias, found) for alias in databases or () if (found := leaking_log_settings(alias))]


def _of_server_log(alias: str, found: Sequence[LogSetting]) -> Warning:
    reasons = "; ".join(f"{setting.name} is {setting.value!r} ({setting.consequence})" for setting in found)
    settings = ", ".join(f"{setting.name} = {setting.wanted}" for setting in found)
    return Warning(
        f"In the database {alias!r}, PostgreSQL writes personal data into its server log: {reasons}.",
        hint=f"Set {settings}. docs/privacy.md, PostgreSQL's server log, says how.",
        id="findme.W002",
    )
