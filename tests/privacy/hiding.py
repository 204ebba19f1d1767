"""Restriction and objection in tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from privacy.actions.restriction import lift_restriction, restrict, resume_matching, stop_matching
from privacy.ledger.entry import Kind
from privacy.local_dates import today
from privacy.models import AuditEntry, PendingAction

SWITCHES = pytest.mark.parametrize(
    ("column", "on", "off"),
    [
        ("restricted_at", restrict, lambda user_id: lift_restriction(user_id, informed_on=today())),
        ("objected_at", stop_matching, resume_matching),
    ],
    ids=["restriction", "objection"],
)
"""Each switch: the column of ``users``, and the actions that set and clear it."""


def pending() -> list[tuple[UUID, Kind]]:
    return [(row.user_id, Kind(row.kind)) for row in PendingAction.objects.order_by("pk")]


def actions_and_outcomes() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", "outcome"))


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
