"""States of a request and their transitions. A trigger enforces the same (``check_request_step``), and a test compares both."""

from __future__ import annotations

from findme.core.errors import UserFacingError
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import CLOSED, STOPPING, State

INITIAL = State.RECEIVED

TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.RECEIVED: (State.IDENTITY_ASKED, State.IDENTIFIED, State.REFUSED, State.WITHDRAWN),
    State.IDENTITY_ASKED: (State.IDENTIFIED, State.REFUSED, State.WITHDRAWN),
    State.IDENTIFIED: (State.APPROVED, State.REFUSED, State.WITHDRAWN),
    State.APPROVED: (State.ANSWERED, State.REFUSED, State.WITHDRAWN),
    State.ANSWERED: (),
    State.REFUSED: (),
    State.WITHDRAWN: (),
}
"""The states that may follow each state."""


def is_allowed(before: str, after: str) -> bool:
    return after in TRANSITIONS[State(before)]


def next_command(request: DataSubjectRequest) -> str:
    """Return the usual next command for an open request."""
    command = f"manage.py privacy_request {{}} {request.pk}"
    match State(request.state):
        case State.RECEIVED | State.IDENTITY_ASKED:
            return f"{command.format('confirm-identity')} --method METHOD"
        case State.IDENTIFIED:
            return command.format("approve")
        case State.APPROVED if request.kind in STOPPING and request.stopped_on is None:
            return command.format("stop")
    return command.format("answer")


def require_transition(request: DataSubjectRequest, state: State) -> None:
    """Raise UserFacingError unless the request can get the state."""
    if is_allowed(request.state, state):
        return
    require_open(request)
    already = "already " if request.state == state else ""
    cannot = "" if already else f" and cannot become {state.value!r}"
    raise UserFacingError(
        f"Request {request.pk} is {already}{State(request.state).value!r}{cannot}: nothing was changed. Run {next_command(request)}"
    )


def require_open(request: DataSubjectRequest) -> None:
    """Raise UserFacingError for a closed request."""
    if request.state in CLOSED:
        raise UserFacingError(
            f"Request {request.pk} is {State(request.state).value!r} since {request.closed_on}, and closed requests never change:"
            f" nothing was changed. Run manage.py privacy_request show {request.pk}"
        )
