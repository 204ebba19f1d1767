"""Django system checks of the database, and of what a restore of it does to each model.

The checks of the database run only for commands that name one: ``check --database default`` and ``migrate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name

from findme.core.db.restored import KEPT, undecided
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


def check_after_restore(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Return E003 for each model that does not say what happens to its rows after a restore."""
    return [
        Error(
            f"{model._meta.label} does not say what happens to its rows after a restore of the database"
            + (f": no function is registered as {label!r}." if label else "."),
            hint=f"Set after_restore to {KEPT.upper()}, or to the label of a function that ends its rows (findme/core/db/restored.py).",
            obj=model,
            id="findme.E003",
        )
        for model, label in undecided()
    ]
