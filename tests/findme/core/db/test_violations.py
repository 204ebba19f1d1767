"""Constraint violations of the database become an error message on the right field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import IntegrityError, connection, models, transaction
from django.forms import modelform_factory

from accounts.models import User
from calls.models import VideoCall
from findme.core.db.violations import Violation, field_for_constraint, fields_of, translate
from findme.core.models import StoredModel
from matching.models import Match
from tests.factories import MatchFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.schema.rows import UNUSED_ID, connect
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding
from videos.models import Video

OURS = (User, Video, Match, VideoCall, ProfileEmbedding)


def violation_of(broken: Callable[[], Any]) -> Violation:
    """Return the violation that ``broken``, or the deferred checks after it, cause."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():  # noqa: PT012  # the commit's checks belong to it
        broken()
        connection.check_constraints()
    return translate(caught.value)


@pytest.mark.django_db
def test_translate__a_check() -> None:
    assert violation_of(lambda: VideoFactory.create(duration=121)) == Violation(
        "videos_duration_check", Video, "duration", "A video lasts from 1 to 120 seconds."
    )


@pytest.mark.django_db
def test_translate__a_check_of_several_fields() -> None:
    assert violation_of(lambda: MatchFactory.create(week_number=54)) == Violation(
        "matches_week_number_check", Match, "week_number", "This ISO year does not have this week."
    )


@pytest.mark.django_db
@pytest.mark.parametrize(("email", "constraint"), [("jane@example.com", "users_email_key"), ("JANE@example.com", "idx_users_email_lower")])
def test_translate__duplicate_address(email: str, constraint: str) -> None:
    UserFactory.create(email="jane@example.com")
    assert violation_of(lambda: UserFactory.create(email=email)) == Violation(
        constraint, User, "email", "Another user has this e-mail address."
    )


@pytest.mark.django_db
def test_translate__duplicate_match() -> None:
    match = MatchFactory.create()
    turned = {"user": match.matched_user, "matched_user": match.user}
    assert violation_of(lambda: MatchFactory.create(**turned)) == Violation(
        "matches_pair_week_number_year_key", Match, "matched_user", "These two users already have a match in this week."
    )


@pytest.mark.django_db
def test_translate__missing_user() -> None:
    assert violation_of(lambda: VideoFactory.create(user=None, user_id=UNUSED_ID)) == Violation(
        "videos_user_id_fkey", Video, "user", "There is no such user."
    )


@pytest.mark.django_db
def test_translate__call_of_other_users() -> None:
    expected = Violation("video_calls_users_of_match_check", VideoCall, "callee", "The two users of a call must be the users of its match.")
    call = VideoCallFactory.create()
    other = UserFactory.create()
    assert violation_of(lambda: VideoCallFactory.create(match=call.match, callee=other)) == expected
    assert violation_of(lambda: VideoCall.objects.filter(pk=call.pk).update(caller=other)) == expected


@pytest.mark.django_db
def test_translate__other_users_of_a_match() -> None:
    match, other = MatchFactory.create(), UserFactory.create()
    assert violation_of(lambda: Match.objects.filter(pk=match.pk).update(user=other)) == Violation(
        "matches_users_check", Match, "matched_user", "The two users of a match cannot be changed."
    )


@pytest.mark.django_db
def test_translate__a_missing_value() -> None:
    assert violation_of(lambda: UserFactory.create(full_name=None)) == Violation("", User, "full_name", "This field cannot be null.")


@pytest.mark.django_db
def test_translate__duplicate_key() -> None:
    taken = UserFactory.create().pk
    assert violation_of(lambda: UserFactory.create(id=taken)) == Violation("users_pkey", User, "id", "There is another row with this key.")


@pytest.mark.django_db
def test_translate__a_rule_of_djangos_own_tables() -> None:
    Group.objects.create(name="Editors")
    assert violation_of(lambda: Group.objects.create(name="Editors")) == Violation(
        "auth_group_name_key", Group, None, "The database rejected this: it breaks the rule 'auth_group_name_key'."
    )


def test_translate__an_error_that_does_not_come_from_postgresql() -> None:
    assert translate(IntegrityError("nothing")) == Violation("", None, None, "The database rejected this: it breaks the rule ''.")


def test_as_validation_error__is_on_the_field_or_on_the_whole_form() -> None:
    violation = Violation("users_email_key", User, "email", "Another user has this e-mail address.")
    assert violation.as_validation_error({"email", "bio"}).message_dict == {"email": [violation.sentence]}
    assert violation.as_validation_error({"bio"}).message_dict == {NON_FIELD_ERRORS: [violation.sentence]}


@pytest.mark.parametrize("model", OURS)
def test_constraints__each_has_a_message_and_a_field(model: type[models.Model]) -> None:
    for constraint in model._meta.constraints:
        if constraint.name != "videos_id_user_key":  # the id is unique, so no row can break it
            assert constraint.violation_error_message != models.BaseConstraint.default_violation_error_message, constraint.name
        assert field_for_constraint(model, constraint) in {field.name for field in model._meta.fields}, constraint.name


def test_constraint_fields__only_for_rules_on_several_fields() -> None:
    for model in OURS:
        several = {constraint.name for constraint in model._meta.constraints if len(fields_of(model, constraint)) > 1}
        assert set(model.constraint_fields) == several | set(model.trigger_rules)


def test_models__all_models_are_tested_here() -> None:
    names = {"accounts", "videos", "matching", "calls", "vectorstore"}
    ours = {model for model in apps.get_models() if model._meta.app_label in names}
    assert {model for model in ours if issubclass(model, StoredModel)} == set(OURS)


@pytest.mark.django_db
def test_race__two_forms_save_one_address_at_once() -> None:
    """Both forms are valid. The other transaction is open when this one saves, and commits while it waits."""
    form_class = modelform_factory(User, fields=["email", "full_name", "date_of_birth", "gender"])
    form = form_class({"email": "Race@example.com", "full_name": "One", "date_of_birth": "1990-01-01", "gender": "male"})
    assert form.is_valid()
    insert = "INSERT INTO users (email, password_hash, full_name, date_of_birth, gender) VALUES ('race@example.com', '', 'Two', '1990-01-01', 'male')"
    with connect() as other, connect() as observer, connection.cursor() as cursor:
        other.execute(insert)
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

        def commit_when_ours_waits() -> None:
            observer.autocommit = True
            wait_until(lambda: observer.execute("SELECT 1 WHERE cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchone())
            other.commit()

        try:
            with in_thread(commit_when_ours_waits):
                violation = violation_of(form.save)
        finally:
            observer.execute("DELETE FROM users WHERE email = 'race@example.com'")
    assert violation == Violation("idx_users_email_lower", User, "email", "Another user has this e-mail address.")
    form.add_error(None, violation.as_validation_error(form.fields))
    assert form.errors == {"email": ["Another user has this e-mail address."]}
