"""Django's system check of the database. It runs only where a command names a database: ``check --database default``, ``migrate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004  # Django's name

from findme.schema.triggers import trigger_problems

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
