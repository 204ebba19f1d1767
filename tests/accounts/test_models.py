from __future__ import annotations

from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user
from django.contrib.auth.hashers import identify_hasher
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

import findme.settings
from accounts.age import age_on, today
from accounts.models import User
from tests.factories import PASSWORD, MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.schema.guide import ANONYMIZE, SOFT_DELETE
from tests.schema.rows import ask
from tests.support.sessions import another_connection, is_waiting_for_lock
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db

REQUIRED: dict[str, Any] = {"full_name": "Jane Smith", "date_of_birth": date(1993, 3, 20), "gender": "female"}
REMOVALS = {
    "deactivated": "UPDATE users SET active = FALSE WHERE id = 'user_uuid'",
    "soft-deleted": SOFT_DELETE,
    "anonymized": ANONYMIZE,
    "erased": "DELETE FROM users WHERE id = 'user_uuid'",
}


# --- Querysets --------------------------------------------------------------------------------------------------------------------


def test_querysets__select_the_right_rows() -> None:
    plain, staff, deleted = UserFactory.create(), UserFactory.create(staff=True), UserFactory.create(deleted=True)
    inactive, unverified = UserFactory.create(inactive=True), UserFactory.create(unverified=True)
    assert set(User.objects.alive()) == {plain, staff, inactive, unverified}
    assert set(User.objects.members()) == {plain, deleted, inactive, unverified}
    assert set(User.objects.matchable()) == {plain}


@pytest.mark.parametrize("address", ["jane@example.com", "Jane@Example.com", "JANE@EXAMPLE.COM"])
def test_with_email__ignores_case(address: str) -> None:
    jane = UserFactory.create(email="Jane@example.com")
    UserFactory.create(email="janet@example.com")
    assert list(User.objects.with_email(address)) == [jane]


@pytest.mark.parametrize("address", ["", "jane", "jane@example.co", "%", "jane@example.com ", "a\0b", "\udcff"])
def test_with_email__unknown(address: str) -> None:
    UserFactory.create(email="jane@example.com")
    assert not User.objects.with_email(address).exists()


def test_str__is_the_uuid() -> None:
    user = UserFactory.create(full_name="Jane Smith", email="jane@example.com")
    assert str(user) == str(user.pk)
    assert (user.get_full_name(), user.get_short_name(), user.get_username()) == ("Jane Smith", "Jane Smith", "jane@example.com")


def test_age__is_in_whole_years_today() -> None:
    assert UserFactory.build(date_of_birth=date(1990, 2, 28)).age == age_on(date(1990, 2, 28), today())


# --- Creating users ----------------------------------------------------------------------------------------------------------------


def test_create_user__can_log_in_with_the_password() -> None:
    user = User.objects.create_user("jane@example.com", "a long enough password", **REQUIRED)
    assert user.check_password("a long enough password")
    assert (user.is_staff, user.is_superuser, user.active, user.verified) == (False, False, True, False)


def test_create_user__without_a_password_cannot_log_in() -> None:
    assert not User.objects.create_user("jane@example.com", **REQUIRED).has_usable_password()


def test_create_user__address_taken_in_another_case__is_refused() -> None:
    User.objects.create_user("jane@example.com", **REQUIRED)
    with pytest.raises(IntegrityError, match="idx_users_email_lower"), transaction.atomic():
        User.objects.create_user("JANE@example.com", **REQUIRED)


def test_create_superuser__is_staff() -> None:
    user = User.objects.create_superuser("jane@example.com", PASSWORD, **REQUIRED)
    assert (user.is_staff, user.is_superuser, user.is_active) == (True, True, True)


def test_password__is_hashed_by_argon2_and_fits_the_column(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = findme.settings.PASSWORD_HASHERS
    user = User.objects.create_user("jane@example.com", "x" * 4096, **REQUIRED)
    assert identify_hasher(user.password).algorithm == "argon2"
    assert ask("SELECT password_hash LIKE 'argon2$argon2id$%%' AND length(password_hash) <= 255 FROM users WHERE id = %s", user.pk) == [
        (True,)
    ]


@pytest.fixture
def superuser_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EMAIL": "root@example.com",
        "PASSWORD": PASSWORD,
        "FULL_NAME": "Root",
        "DATE_OF_BIRTH": "1980-01-01",
        "GENDER": "other",
    }.items():
        monkeypatch.setenv(f"DJANGO_SUPERUSER_{name}", value)


def test_createsuperuser__from_the_environment(superuser_environment: None) -> None:
    call_command("createsuperuser", interactive=False, verbosity=0)
    user = User.objects.get()
    assert (user.email, user.full_name, user.date_of_birth, user.gender) == ("root@example.com", "Root", date(1980, 1, 1), "other")
    assert authenticate(username="ROOT@example.com", password=PASSWORD) == user


def test_createsuperuser__address_taken__is_refused(superuser_environment: None) -> None:
    UserFactory.create(email="Root@example.com")
    with pytest.raises(CommandError, match=r"^Error: That email is already taken\.$"):
        call_command("createsuperuser", interactive=False, verbosity=0)


def test_createsuperuser__asks_for_required_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["root@example.com", "Root", "yesterday", "1980-01-01", "other"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(answers))
    monkeypatch.setattr("getpass.getpass", lambda prompt="": PASSWORD)

    class Terminal:
        def isatty(self) -> bool:
            return True

    stderr = StringIO()
    call_command("createsuperuser", interactive=True, verbosity=0, stdin=Terminal(), stderr=stderr)
    assert "“yesterday” value has an invalid date format." in stderr.getvalue()
    assert User.objects.get().is_superuser
    assert next(answers, None) is None


# --- Logging in -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["jane@example.com", "JANE@Example.com"])
def test_login__ignores_the_case_of_the_address(address: str) -> None:
    jane = UserFactory.create(email="Jane@example.com")
    assert authenticate(username=address, password=PASSWORD) == jane


@pytest.mark.parametrize("name", ["", "unknown@example.com", None])
def test_login__of_an_unknown_user(name: str | None) -> None:
    UserFactory.create()
    assert authenticate(username=name, password=PASSWORD) is None


def test_login__with_another_password() -> None:
    assert authenticate(username=UserFactory.create().email, password="wrong") is None


def test_login__is_one_query_by_the_index(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = UserFactory.create()
    with django_assert_num_queries(1) as queries:
        assert authenticate(username=user.email, password=PASSWORD)
    assert 'LOWER("users"."email") = (LOWER(' in queries.captured_queries[0]["sql"]


@pytest.mark.parametrize("password", [PASSWORD, "", "!"])
@pytest.mark.parametrize("removal", REMOVALS)
def test_login__of_a_removed_user__fails(removal: str, password: str) -> None:
    user = UserFactory.create()
    ask(REMOVALS[removal].replace("user_uuid", str(user.pk)))
    for name in (user.email, f"deleted_{user.pk}@findme.ai"):
        assert authenticate(username=name, password=password) is None


@pytest.mark.parametrize("removal", REMOVALS)
def test_session__of_a_removed_user__ends_with_the_next_request(client: Client, removal: str) -> None:
    user = UserFactory.create(staff=True)
    client.force_login(user)
    request = HttpRequest()
    request.session = client.session
    assert get_user(request) == user
    ask(REMOVALS[removal].replace("user_uuid", str(user.pk)))
    assert get_user(request).is_anonymous


def test_session__of_a_user_who_is_active_again__continues(client: Client) -> None:
    user = UserFactory.create(inactive=True)
    assert not user.is_active
    user.active = True
    user.save()
    client.force_login(user)
    request = HttpRequest()
    request.session = client.session
    assert get_user(request) == user


# --- Deleting ---------------------------------------------------------------------------------------------------------------------


def user_with_rows(rows: int) -> User:
    """Create a user with ``rows`` rows in each table, on both sides of matches and calls."""
    user = UserFactory.create()
    ProfileEmbeddingFactory.create(user=user)
    user.video = VideoFactory.create(user=user)
    user.save()
    VideoFactory.create_batch(rows, user=user)
    for match in [*MatchFactory.create_batch(rows, user=user), *MatchFactory.create_batch(rows, matched_user=user)]:
        VideoCallFactory.create_batch(rows, match=match)
    return user


def test_delete__deletes_all_rows_in_a_constant_number_of_queries() -> None:
    counts = []
    for rows in (1, 4):
        user = user_with_rows(rows)
        with CaptureQueriesContext(connection) as queries:
            user.delete()
        connection.check_constraints()
        counts.append(len(queries))
    assert counts[0] == counts[1]
    for table in ("videos", "matches", "video_calls", "profile_embeddings"):
        assert ask(f"SELECT count(*) FROM {table}") == [(0,)]


def test_delete__of_a_queryset__keeps_other_users() -> None:
    user, other = UserFactory.create(), UserFactory.create()
    MatchFactory.create(user=other)
    VideoFactory.create(user=user)
    User.objects.filter(pk=user.pk).delete()
    connection.check_constraints()
    assert User.objects.filter(pk=other.pk).exists()
    assert ask("SELECT (SELECT count(*) FROM matches), (SELECT count(*) FROM videos)") == [(1, 0)]


def test_delete__of_a_video__clears_it_in_the_profile() -> None:
    user = UserFactory.create()
    user.video = VideoFactory.create(user=user)
    user.save()
    user.video.delete()
    connection.check_constraints()
    user.refresh_from_db()
    assert user.video_id is None


# --- Saving a user who was removed meanwhile ------------------------------------------------------------------------------------------


CLEARED_ROW = "SELECT email, full_name, bio, password_hash, deleted_at IS NOT NULL FROM users WHERE id = %s"
EACH_REMOVAL = pytest.mark.parametrize("removal", ["soft-deleted", "anonymized"])


def remove(user: User, removal: str) -> None:
    ask(REMOVALS[removal].replace("user_uuid", str(user.pk)))


def assert_save_is_refused(user: User, **options: Any) -> None:
    before = ask(CLEARED_ROW, user.pk)
    with pytest.raises(DatabaseError) as raised, transaction.atomic():
        user.save(**options)
    assert str(raised.value) == f"User {user.pk} was deleted or anonymized by another transaction: nothing was saved. Reload the user."
    assert ask(CLEARED_ROW, user.pk) == before


@EACH_REMOVAL
@pytest.mark.parametrize("fields", [None, ["bio"], ["deleted_at"], ["last_login", "password"]])
def test_save__of_a_user_who_was_removed_meanwhile__restores_nothing(removal: str, fields: list[str] | None) -> None:
    user = User.objects.get(pk=UserFactory.create().pk)
    remove(user, removal)
    assert_save_is_refused(user, update_fields=fields)
    assert_save_is_refused(user, update_fields=fields)


@EACH_REMOVAL
def test_save__of_a_new_user_who_was_removed__restores_nothing(removal: str) -> None:
    user = UserFactory.create()
    remove(user, removal)
    assert_save_is_refused(user)


@EACH_REMOVAL
def test_save__of_a_partly_read_user_who_was_removed__restores_nothing(removal: str) -> None:
    user = User.objects.only("bio").get(pk=UserFactory.create().pk)
    remove(user, removal)
    user.bio = "back"
    assert_save_is_refused(user)


def test_save__of_a_deleted_user_who_was_anonymized_since__restores_nothing() -> None:
    user = User.objects.get(pk=UserFactory.create(deleted=True).pk)
    remove(user, "anonymized")
    assert_save_is_refused(user)
    user.deleted_at = None
    assert_save_is_refused(user)


def test_save__of_a_removed_user_who_was_read_again__is_allowed() -> None:
    user = UserFactory.create()
    remove(user, "soft-deleted")
    user.refresh_from_db(fields=["bio"])
    assert_save_is_refused(user)
    user.refresh_from_db()
    user.bio = "a line"
    user.save()
    user.deleted_at = None
    user.save()
    user.save()
    assert ask("SELECT bio, deleted_at FROM users WHERE id = %s", user.pk) == [("a line", None)]


@pytest.mark.parametrize("change", [{"bio": "a line"}, {"deleted_at": None}, {"full_name": "Jane Doe"}], ids=str)
def test_save__of_an_anonymized_user_who_was_read_again__is_refused_by_the_database(change: dict[str, Any]) -> None:
    user = UserFactory.create()
    remove(user, "anonymized")
    user.refresh_from_db()
    for name, value in change.items():
        setattr(user, name, value)
    with pytest.raises(IntegrityError, match=f"User {user.pk} was anonymized or deleted for good"):
        user.save()


def test_save__of_a_removed_user__writes_columns_that_no_removal_clears(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = User.objects.get(pk=UserFactory.create().pk)
    remove(user, "soft-deleted")
    user.last_login, user.active = datetime(2025, 1, 1, tzinfo=UTC), False
    with django_assert_num_queries(1) as queries:
        user.save(update_fields=["last_login"])
        assert "deleted_at" not in queries.captured_queries[0]["sql"]
    user.save(update_fields=["active"])
    assert ask("SELECT active, deleted_at IS NULL FROM users WHERE id = %s", user.pk) == [(False, False)]


def test_save__checks_for_a_removal_in_the_same_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = User.objects.get(pk=UserFactory.create().pk)
    for _again in range(2):
        with django_assert_num_queries(1):
            user.save()


@pytest.mark.django_db(transaction=True)
def test_save__during_an_anonymization__waits_and_restores_nothing() -> None:
    user = User.objects.get(pk=UserFactory.create().pk)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(ANONYMIZE.replace("user_uuid", str(user.pk)))
        with in_thread(user.save) as saved:
            wait_until(is_waiting_for_lock, "the save waits")
            cursor.execute("COMMIT")
            assert (
                str(saved.exception())
                == f"User {user.pk} was deleted or anonymized by another transaction: nothing was saved. Reload the user."
            )
    assert ask(CLEARED_ROW, user.pk) == [(f"deleted_{user.pk}@findme.ai", "Deleted User", None, "", True)]
