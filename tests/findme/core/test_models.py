"""``save()`` never inserts a deleted row again, and models show values that the database wrote."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from matching.models import Match
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory
from tests.schema.rows import ask

pytestmark = pytest.mark.django_db


def test_save__user_erased_meanwhile_is_not_inserted_again() -> None:
    user = User.objects.get(pk=UserFactory.create().pk)
    ask("DELETE FROM users WHERE id = %s", user.pk)
    with pytest.raises(DatabaseError, match=r"^(Forced update|Save with update_fields) did not affect any rows\.$"), transaction.atomic():
        user.save()
    assert not User.objects.exists()


def test_save__user_created_and_erased_is_not_inserted_again() -> None:
    user = UserFactory.create()
    ask("DELETE FROM users WHERE id = %s", user.pk)
    with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
        user.save()
    assert not User.objects.exists()


def test_save__copy_inserts_a_row() -> None:
    user = UserFactory.create()
    first = user.pk
    user.pk, user.email = None, "copy@example.com"
    user.save()
    assert user.pk != first
    assert User.objects.count() == 2


def test_save__shows_the_updated_at_that_the_trigger_wrote() -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    for row in (UserFactory.create(updated_at=long_ago), ProfileEmbeddingFactory.create(updated_at=long_ago)):
        assert row.updated_at == long_ago
        row.save()
        assert [(row.updated_at,)] == ask("SELECT now()")


def test_save__is_one_query_and_database_values_one_more_at_access(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    user = UserFactory.create()
    with django_assert_num_queries(1):
        user.save()
    with django_assert_num_queries(1):
        user.save(update_fields=["bio"])
    with django_assert_num_queries(1):
        assert user.updated_at
    with django_assert_num_queries(1):
        user.save()


def test_insert__shows_what_the_database_wrote_without_another_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user, other = UserFactory.create(), UserFactory.create()
    with django_assert_num_queries(1):
        match = MatchFactory.create(user=user, matched_user=other)
        assert match.created_at == match.updated_at


def test_bulk_create__shows_what_the_database_wrote(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    users = UserFactory.create_batch(3)
    rows = [MatchFactory.build(user=users[n], matched_user=users[n - 1]) for n in range(3)]
    with django_assert_num_queries(1):
        Match.objects.bulk_create(rows)
    with django_assert_num_queries(0):
        assert len({row.created_at for row in rows}) == 1 and rows[0].created_at


def test_bulk_create__users_with_defaults() -> None:
    User.objects.bulk_create(UserFactory.build_batch(3))
    assert ask("SELECT count(*) FROM users WHERE active AND created_at = now()") == [(3,)]


def test_bulk_update__lets_the_trigger_write() -> None:
    users = UserFactory.create_batch(2)
    for user in users:
        user.bio = "new"
    User.objects.bulk_update(users, ["bio"])
    assert ask("SELECT count(*) FROM users WHERE bio = 'new' AND updated_at = now()") == [(2,)]


def test_full_clean__rule_of_two_constraints_is_reported_once() -> None:
    UserFactory.create(email="jane@example.com")
    for email in ("jane@example.com", "JANE@example.com"):
        with pytest.raises(ValidationError) as caught:
            UserFactory.build(email=email).full_clean()
        assert caught.value.message_dict == {"email": ["Another user has this e-mail address."]}


def test_full_clean__excluded_field_leaves_out_its_rules() -> None:
    match = MatchFactory.create()
    match.week_number, match.match_score = 54, 2.0
    with pytest.raises(ValidationError) as caught:
        match.full_clean(exclude={"year"})
    assert set(caught.value.message_dict) == {"match_score"}
