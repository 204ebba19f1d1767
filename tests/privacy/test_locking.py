from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg import errors

from findme.core.errors import UserFacingError
from privacy.actions import locking
from privacy.actions.locking import check_deferred_constraints, locked_user
from privacy.users import UserRow
from tests.factories import UserFactory, VideoFactory
from tests.support.sessions import another_connection

pytestmark = pytest.mark.django_db(transaction=True)


def test_locked_user__returns_the_row() -> None:
    person = UserFactory.create()
    with locked_user(person.pk) as locked:
        assert locked == UserRow(person.pk, person.email, None)


def test_locked_user__unknown_user() -> None:
    with locked_user(uuid4()) as locked:
        assert locked is None


def test_locked_user__blocks_other_transactions() -> None:
    person = UserFactory.create()
    with locked_user(person.pk), another_connection() as other, other.cursor() as cursor:
        cursor.execute("SET lock_timeout = '10ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            cursor.execute("UPDATE users SET bio = 'Changed' WHERE id = %s", [person.pk])


def test_locked_user__row_is_locked_by_another_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LOCK_SECONDS", 1)
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE users SET bio = 'Changed' WHERE id = %s", [person.pk])
        with pytest.raises(UserFacingError) as refused, locked_user(person.pk):
            pass
    assert str(refused.value) == f"Another transaction holds the rows of '{person.pk}': nothing was changed after 1 seconds. Run it again."


@pytest.mark.parametrize(("cause", "expected"), [(errors.DeadlockDetected(), UserFacingError), (errors.AdminShutdown(), OperationalError)])
def test_locked_user__translates_only_a_deadlock(cause: Exception, expected: type[Exception]) -> None:
    def fail() -> None:
        raise OperationalError("failed") from cause

    with pytest.raises(expected), locked_user(uuid4()):
        fail()


def test_locked_user__answer_to_the_commit_is_lost() -> None:
    person = UserFactory.create()

    def cut_off() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            assert cursor.fetchone() == (True,)

    with pytest.raises(UserFacingError) as refused, locked_user(person.pk):
        cut_off()
    connection.close()
    expected = str(refused.value)
    assert expected.startswith("PostgreSQL did not confirm the commit (")
    assert expected.endswith(f"): whether '{person.pk}' was changed is unknown. Run this again, or leave it to manage.py process_requests.")
    assert "\n" not in expected


def test_locked_user__inside_a_transaction__is_an_error() -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic(), locked_user(uuid4()):
        pass


def test_check_deferred_constraints__before_the_commit() -> None:
    video = VideoFactory.create()

    def violate_a_deferred_constraint() -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE videos SET user_id = %s WHERE id = %s", [uuid4(), video.pk])
        check_deferred_constraints()

    with pytest.raises(IntegrityError, match="videos_user_id_fkey"), transaction.atomic():
        violate_a_deferred_constraint()


def test_check_deferred_constraints__without_a_violation() -> None:
    with transaction.atomic():
        VideoFactory.create()
        check_deferred_constraints()
