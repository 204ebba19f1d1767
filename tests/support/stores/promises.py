"""What every ``Store`` promises: absent, down, slow, lying, and with the process killed half way.

``PROMISES`` are functions that take a harness. A store is tested by one test that is parametrized with them, and by one with ``keeps_after_a_kill``. The
tests need ``django_db(transaction=True)``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import models, transaction

from findme.core.errors import StoreUnavailable
from privacy.actions.erase import erase
from privacy.actions.stores import DeletionUnconfirmed
from privacy.registry import Store
from tests.factories import UserFactory
from tests.support.commands import run_python
from tests.support.stores.harness import StoreHarness
from tests.support.threads import in_thread

Promise: TypeAlias = Callable[[StoreHarness], None]
PROMISES: list[Promise] = []


def promise(check: Promise) -> Promise:
    PROMISES.append(check)
    return check


# --- Sessions ---------------------------------------------------------------------------------------------------------------------


@promise
def session__is_reentrant(harness: StoreHarness) -> None:
    user_id, store = harness.new_user(), harness.store
    with limited(harness), store.session():
        with store.session():
            assert store.holds(user_id)
        with store.session(), store.session():
            pass
        assert store.holds(user_id), "The end of an inner session has ended the outer one."


@promise
def session__ended__does_not_block_others(harness: StoreHarness) -> None:
    user_id, store = harness.new_user(), harness.store
    with pytest.raises(ZeroDivisionError), limited(harness), store.session():
        raise ZeroDivisionError
    assert in_thread(lambda: holds_in_session(store, user_id)).result(harness.seconds)


def holds_in_session(store: Store, user_id: UUID) -> bool:
    with store.session():
        return store.holds(user_id)


# --- Answers ----------------------------------------------------------------------------------------------------------------------


@promise
def answers__are_about_the_user_only(harness: StoreHarness) -> None:
    user_id, without_data, unknown, store = harness.new_user(), UserFactory.create().pk, uuid4(), harness.store
    with limited(harness), store.session():
        assert [store.holds(one) for one in (user_id, without_data, unknown)] == [True, False, False]
        assert store.remaining(user_id) != []
        assert store.remaining(without_data) == store.remaining(unknown) == []
    with limited(harness):
        assert store.scan([user_id, without_data, unknown]) == {user_id}
        assert store.scan([without_data, unknown]) == store.scan([]) == frozenset()


@promise
def remaining__finds_what_a_lookup_hides(harness: StoreHarness) -> None:
    user_id = harness.new_user()
    with harness.hiding(), limited(harness), harness.store.session():
        assert harness.store.remaining(user_id) != [], "It asks in one way only."


@promise
def scan__finds_data_under_another_key(harness: StoreHarness) -> None:
    user_id = UserFactory.create().pk
    harness.put_under_another_key(user_id)
    with limited(harness):
        assert harness.store.scan([uuid4(), user_id]) == {user_id}


@promise
def scan__finds_what_a_lookup_hides(harness: StoreHarness) -> None:
    user_id = harness.new_user()
    with harness.hiding(), limited(harness):
        assert harness.store.scan([user_id]) == {user_id}


# --- Removals ---------------------------------------------------------------------------------------------------------------------


@promise
def remove__deletes_the_data_of_the_user_only(harness: StoreHarness) -> None:
    user_id, other, store = harness.new_user(), harness.new_user(), harness.store
    assert removed(harness, user_id)
    assert (harness.has(user_id), harness.has(other)) == (False, True)
    assert (store.holds(user_id), store.remaining(user_id)) == (False, [])
    assert store.scan([user_id, other]) == {other}


@promise
def remove__again__returns_false(harness: StoreHarness) -> None:
    user_id, without_data = harness.new_user(), UserFactory.create().pk
    assert [removed(harness, one) for one in (user_id, user_id, without_data, uuid4())] == [True, False, False, False]


@promise
def remove__workers_do_not_write_the_user_again(harness: StoreHarness) -> None:
    """One works while the transaction is open, and another after its commit."""
    user_id, other = harness.new_user(), harness.new_user()
    with harness.store.session(), transaction.atomic():
        get_user_model().objects.filter(pk=user_id).delete()
        with limited(harness):
            harness.store.remove(user_id)
        in_thread(harness.work).result()
    harness.work()
    assert (harness.has(user_id), harness.has(other)) == (False, True)


def removed(harness: StoreHarness, user_id: UUID) -> bool:
    """Remove the user from the store as an action does: in a session, and at the end of a transaction."""
    with limited(harness), harness.store.session(), transaction.atomic():
        return harness.store.remove(user_id)


# --- Absent, down and slow --------------------------------------------------------------------------------------------------------


@promise
def absent__every_call_is_refused(harness: StoreHarness) -> None:
    """A store that is missing is not an empty one."""
    user_id = harness.new_user()
    with harness.absent():
        assert_refused(harness, user_id)
    assert_answers(harness, user_id)


@promise
def down__every_call_is_refused(harness: StoreHarness) -> None:
    user_id = harness.new_user()
    with harness.down():
        assert_refused(harness, user_id)
    assert_answers(harness, user_id)


@promise
def slow__every_call_is_refused_in_time(harness: StoreHarness) -> None:
    user_id = harness.new_user()
    with harness.slow():
        assert_refused(harness, user_id)
    assert_answers(harness, user_id)


@promise
def absent__erasure_changes_nothing(harness: StoreHarness) -> None:
    assert_nothing_changes(harness, harness.absent)


@promise
def down__erasure_changes_nothing(harness: StoreHarness) -> None:
    assert_nothing_changes(harness, harness.down)


@promise
def slow__erasure_changes_nothing(harness: StoreHarness) -> None:
    assert_nothing_changes(harness, harness.slow)


def assert_refused(harness: StoreHarness, user_id: UUID) -> None:
    """Check that each method raises StoreUnavailable in one line and in time."""
    store = harness.store
    calls: dict[str, Callable[[], object]] = {
        "session": lambda: store.session().__enter__(),
        "holds": lambda: store.holds(user_id),
        "remaining": lambda: store.remaining(user_id),
        "scan": lambda: store.scan([user_id]),
        "remove": lambda: store.remove(user_id),
    }
    for name, call in calls.items():
        with pytest.raises(StoreUnavailable) as raised, limited(harness), transaction.atomic():
            refuse_answer(name, call())
        assert_one_line(raised.value)


def refuse_answer(name: str, answer: object) -> None:
    pytest.fail(f"{name} has answered {answer!r}")


def assert_one_line(error: Exception) -> None:
    text = str(error)
    assert text and "\n" not in text
    assert "@" not in text, "The error may have an e-mail address."


def assert_answers(harness: StoreHarness, user_id: UUID) -> None:
    """Check that the same store works, with its data, after it was unavailable."""
    assert harness.has(user_id)
    with limited(harness):
        assert holds_in_session(harness.store, user_id)


def assert_nothing_changes(harness: StoreHarness, broken: Callable[[], Any]) -> None:
    user_id, other = harness.new_user(), harness.new_user()
    before = rows()
    with broken():
        with pytest.raises(StoreUnavailable) as raised, limited(harness):
            erase(user_id)
        assert not isinstance(raised.value, DeletionUnconfirmed), "Nothing was sent, so the outcome is known."
        assert_one_line(raised.value)
        assert rows() == before
    assert harness.has(user_id)
    assert_erased(harness, user_id, other)


# --- Unconfirmed ------------------------------------------------------------------------------------------------------------------


@promise
def fails_in_session__removal_is_unconfirmed(harness: StoreHarness) -> None:
    """The store may have deleted the data, or may do so later."""
    user_id, other = harness.new_user(), harness.new_user()
    with harness.store.session(), harness.failing_in_session():
        with pytest.raises(StoreUnavailable), limited(harness), transaction.atomic():
            harness.store.remove(user_id)
        with pytest.raises(StoreUnavailable), limited(harness):
            harness.store.remaining(user_id)
    assert_unconfirmed(harness, user_id, failing_after_sessions_begin(harness))
    assert_erased(harness, user_id, other)


@promise
def lies__erasure_is_unconfirmed(harness: StoreHarness) -> None:
    user_id, other = harness.new_user(), harness.new_user()
    assert_unconfirmed(harness, user_id, harness.lying)
    assert harness.has(user_id)
    assert_erased(harness, user_id, other)


@promise
def lies_and_hides__erasure_is_unconfirmed(harness: StoreHarness) -> None:
    user_id, other = harness.new_user(), harness.new_user()
    assert_unconfirmed(harness, user_id, harness.hiding)
    assert harness.has(user_id)
    assert_erased(harness, user_id, other)


def failing_after_sessions_begin(harness: StoreHarness) -> Callable[[], Any]:
    """Let the store fail from the removal on, when an erasure has opened its session already."""

    @contextmanager
    def failing() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            remove = harness.store.remove

            def fail_and_remove(user_id: UUID) -> bool:
                with harness.failing_in_session():
                    return remove(user_id)

            patched.setattr(harness.store, "remove", fail_and_remove)
            yield

    return failing


def assert_unconfirmed(harness: StoreHarness, user_id: UUID, broken: Callable[[], Any]) -> None:
    before = rows()
    with broken():
        with pytest.raises(DeletionUnconfirmed) as raised, limited(harness):
            erase(user_id)
        assert_one_line(raised.value)
    assert rows() == before


def assert_erased(harness: StoreHarness, user_id: UUID, other: UUID) -> None:
    """Check that the erasure completes, and that no data of the user come back."""
    with limited(harness):
        assert erase(user_id).changed
    harness.work()
    assert (harness.has(user_id), harness.has(other)) == (False, True)
    assert not get_user_model().objects.filter(pk=user_id).exists()


# --- Killed -----------------------------------------------------------------------------------------------------------------------

ERASE = """
import sys
from importlib import import_module
from uuid import UUID
from privacy.actions.erase import erase
from tests.support.killing import kill_at_call
{register}
user_id, nth, *names = sys.argv[1:]
functions = []
for name in names:
    module, _, path = name.partition(":")
    *owners, function = path.split(".")
    owner = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    functions.append((owner, function))
kill_at_call(functions, int(nth))
erase(UUID(user_id))
"""


def keeps_after_a_kill(harness: StoreHarness, nth: int) -> None:
    """Kill an erasure before the ``nth`` request to the store. PostgreSQL is unchanged, and the next erasure ends complete.

    With ``nth`` equal to ``harness.kills`` the process is not killed. This proves that no request is left out.
    """
    user_id, other = harness.new_user(), harness.new_user()
    before = rows()
    code, _, err = run_python(ERASE.format(register=harness.register_elsewhere()), user_id, nth, *harness.kill_at)
    if nth == harness.kills:
        assert code == 0, err
        assert (harness.has(user_id), harness.has(other)) == (False, True)
        return
    assert code == -signal.SIGKILL, err
    assert rows() == before
    assert_erased(harness, user_id, other)


# --- Help -------------------------------------------------------------------------------------------------------------------------


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all users, and of all tables that refer to users."""
    user = get_user_model()
    related = [relation.related_model for relation in user._meta.related_objects if isinstance(relation.related_model, type)]
    tables: list[type[models.Model]] = [user, *related]
    return {table._meta.label: list(table._default_manager.order_by("pk").values()) for table in tables}


class _TooLong(BaseException):
    """A call took too long. No code of the store can catch it by mistake."""


@contextmanager
def limited(harness: StoreHarness) -> Iterator[None]:
    """Fail, instead of waiting for ever, if the block takes longer than a call of the store may take."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, harness.seconds)
    try:
        yield
    except _TooLong:
        pytest.fail(f"The call did not end within {harness.seconds} seconds.")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
