"""Django system checks of the database.

They run only for commands that name a database: ``check --database default`` and ``migrate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004  # Django's name

from findme.core.postgresql.log_settings import LogSetting, leaking_log_settings
from findme.core.triggers.problems import trigger_problems

HINT = "Run manage.py verify_qdrant --repair."


def check_triggers(databases: Sequence[str] | None = None, **_app_configs: Any) -> list[CheckMessage]:
    """Return W001 for each trigger, function or foreign key that differs from the applied migrations.

    It is a warning, because an error would stop ``migrate``, and a migration may create the trigger again.
    """
    return [
        Warning(f"In the database {alias!r}, not as migrated: {problem}", hint=HINT, id="findme.W001")
        for alias in databases or ()
        for problem in trigger_problems(alias)
    ]


def check_server_log(databases: Sequence[str] | None = None, **_app_configs: Any) -> list[CheckMessage]:
    """Return W002, with the settings to change, for a server that writes values of rows into its log."""
    return [_of_server_log(alias, found) for alias in databases or () if (found := leaking_log_settings(alias))]


def _of_server_log(alias: str, found: Sequence[LogSetting]) -> Warning:
    reasons = "; ".join(f"{setting.name} is {setting.value!r} ({setting.consequence})" for setting in found)
    settings = ", ".join(f"{setting.name} = {setting.wanted}" for setting in found)
    return Warning(
        f"In the database {alias!r}, PostgreSQL writes personal data into its server log: {reasons}.",
        hint=f"Set {settings}. See docs/privacy.md, PostgreSQL's server log.",
        id="findme.W002",
    )
