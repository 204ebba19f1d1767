"""Rows of ``erasures`` and ``erasure_steps``, written by plain SQL as another program would."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction

DIGEST = bytes(range(200, 232))
ERASING, PURGING = ("rows", "point"), ("scan", "backups")


def run(statement: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def insert_erasure(*, steps: tuple[str, ...] = (*ERASING, *PURGING), **columns: Any) -> UUID:
    row: dict[str, Any] = {"id": uuid4(), "user_id": uuid4(), "plan": "{}", "plan_digest": DIGEST, "policy_version": 1} | columns
    if not isinstance(row["plan"], str):
        row["plan"] = json.dumps(row["plan"])
    run(f"INSERT INTO erasures ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
    for step in steps:
        run("INSERT INTO erasure_steps (erasure_id, step) VALUES (%s, %s)", row["id"], step)
    found: UUID = row["id"]
    return found


def do_steps(erasure_id: UUID, *steps: str) -> None:
    run("UPDATE erasure_steps SET done_at = now() WHERE erasure_id = %s AND step = ANY (%s)", erasure_id, list(steps))


def end(erasure_id: UUID, state: str) -> None:
    """Take the erasure to the state as the engine does, but leave its steps."""
    statements = {
        "erased": "UPDATE erasures SET state = 'erased', erased_at = now(), ledger_position = 1 WHERE id = %s",
        "purged": "UPDATE erasures SET state = 'purged', purged_at = now() WHERE id = %s",
        "stopped": "UPDATE erasures SET state = 'stopped', stopped_at = now(), stop_reason = 'plan_changed' WHERE id = %s",
    }
    run(statements[state], erasure_id)


def erasure_in(state: str) -> UUID:
    erasure_id = insert_erasure()
    if state in ("erased", "purged"):
        do_steps(erasure_id, *ERASING)
        end(erasure_id, "erased")
    if state == "purged":
        do_steps(erasure_id, *PURGING)
    if state in ("purged", "stopped"):
        end(erasure_id, state)
    return erasure_id
