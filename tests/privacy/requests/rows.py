"""Requests in every state, written by plain SQL as another program would."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from privacy.models.request_choices import State
from privacy.requests.deadlines import due_date

RECEIVED = date(2026, 3, 2)
PATHS: dict[State, tuple[State, ...]] = {
    State.RECEIVED: (),
    State.IDENTITY_ASKED: (State.IDENTITY_ASKED,),
    State.IDENTIFIED: (State.IDENTIFIED,),
    State.APPROVED: (State.IDENTIFIED, State.APPROVED),
    State.ANSWERED: (State.IDENTIFIED, State.APPROVED, State.ANSWERED),
    State.REFUSED: (State.REFUSED,),
    State.WITHDRAWN: (State.WITHDRAWN,),
}
"""The shortest way to each state."""


def columns_of(state: State, received_on: date = RECEIVED) -> dict[str, Any]:
    """Return the columns that the step to this state writes."""
    one_day_later = received_on + timedelta(days=1)
    steps: dict[State, dict[str, Any]] = {
        State.RECEIVED: {},
        State.IDENTITY_ASKED: {"identity_asked_on": one_day_later},
        State.IDENTIFIED: {
            "identity_confirmed_on": one_day_later,
            "identity_method": "login",
            "identity_confirmed_by_account": "ann",
            "first_due_on": due_date(received_on, closed=()),
            "due_on": due_date(received_on, closed=()),
        },
        State.APPROVED: {"approved_at": one_day_later, "approved_by_account": "bob"},
        State.ANSWERED: {"closed_on": one_day_later},
        State.REFUSED: {"refusal_ground": "12_5_excessive", "informed_of_remedies": True, "closed_on": one_day_later},
        State.WITHDRAWN: {"withdrawal_reason": "by_person", "closed_on": one_day_later},
    }
    return steps[state] | {"state": state.value}


def insert(table: str = "data_subject_requests", **columns: Any) -> UUID:
    row = columns
    if table == "data_subject_requests":
        received_on = columns.get("received_on", RECEIVED)
        row = {
            "id": uuid4(),
            "kind": "access",
            "user_id": uuid4(),
            "recorded_by_account": "ann",
            "received_on": received_on,
            "first_due_on": columns.get("due_on") or due_date(received_on, closed=()),
            "due_on": columns.get("due_on") or due_date(received_on, closed=()),
        } | columns
    names = ", ".join(row)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING id", list(row.values()))
        return UUID(str(cursor.fetchone()[0])) if table == "data_subject_requests" else cursor.fetchone()


def update(request_id: UUID, **columns: Any) -> None:
    names = ", ".join(f"{name} = %s" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE data_subject_requests SET {names} WHERE id = %s", [*columns.values(), request_id])


def request_in(state: State, **columns: Any) -> UUID:
    """Insert a request, and take it to the state."""
    request_id = insert(**columns)
    for step in PATHS[state]:
        update(request_id, **columns_of(step, columns.get("received_on", RECEIVED)))
    return request_id


def state_of(request_id: UUID) -> State:
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM data_subject_requests WHERE id = %s", [request_id])
        return State(cursor.fetchone()[0])
