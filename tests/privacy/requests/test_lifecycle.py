"""The transitions of Python and of the trigger are the same, for every pair of states and on random walks."""

from __future__ import annotations

from itertools import product

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from findme.core.errors import UserFacingError
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import CLOSED, State
from privacy.requests.lifecycle import INITIAL, TRANSITIONS, is_allowed, require_transition
from tests.privacy.requests.rows import columns_of, insert, request_in, state_of, update

pytestmark = pytest.mark.django_db

ROLES = pytest.mark.parametrize("role", ["origin", "replica"])


def accepts(before: State, after: State) -> bool:
    """Return whether the database accepts the step, with the columns that belong to it."""
    request_id = request_in(before)
    try:
        with transaction.atomic():
            update(request_id, **columns_of(after))
    except IntegrityError as error:
        if f"Request {request_id}: {before.value} cannot become {after.value}, only: " not in str(error):
            raise
        return False
    return True


def test_transitions__name_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {state for state, following in TRANSITIONS.items() if not following} == set(CLOSED)


@pytest.mark.parametrize(("before", "after"), [pair for pair in product(State, State) if pair[0] != pair[1]])
def test_transition__database_and_python_agree(before: State, after: State) -> None:
    assert accepts(before, after) == is_allowed(before, after)


@ROLES
def test_insert__only_in_the_initial_state(role: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {role}")
    assert state_of(insert()) == INITIAL
    for state in set(State) - {INITIAL}:
        with pytest.raises(IntegrityError, match=f"a new request is received, not {state.value}"), transaction.atomic():
            insert(**columns_of(state))


@ROLES
def test_update__of_every_role_is_checked(role: str) -> None:
    request_id = request_in(State.RECEIVED)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {role}")
    with pytest.raises(IntegrityError, match="received cannot become answered"), transaction.atomic():
        update(request_id, **columns_of(State.ANSWERED))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(list(State)), max_size=8))
def test_walk__database_and_python_agree(states: list[State]) -> None:
    """Each step is tried in both. A refused step leaves the state as it was."""
    with transaction.atomic():
        request_id, state = insert(), INITIAL
        for step in states:
            if step == state:
                continue
            try:
                with transaction.atomic():
                    update(request_id, **columns_of(step))
                was_accepted = True
            except IntegrityError:
                was_accepted = False
            assert was_accepted == is_allowed(state, step)
            state = step if was_accepted else state
            assert state_of(request_id) == state
        transaction.set_rollback(True)


@pytest.mark.parametrize("state", State)
def test_require_transition__names_the_state_and_the_next_command(state: State) -> None:
    request = DataSubjectRequest.objects.get(pk=request_in(state))
    for following in State:
        if is_allowed(state, following):
            require_transition(request, following)
            continue
        with pytest.raises(UserFacingError, match=r"nothing was changed\. Run manage\.py privacy_request [\w-]+ ") as raised:
            require_transition(request, following)
        assert f"Request {request.pk} is " in str(raised.value) and state.value in str(raised.value)
