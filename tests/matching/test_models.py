from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from matching.models import Match
from tests.factories import MatchFactory, UserFactory, VideoCallFactory

pytestmark = pytest.mark.django_db


def test_querysets__select_the_right_rows() -> None:
    this = MatchFactory.create(year=2026, week_number=2)
    accepted, expired, deleted = (
        MatchFactory.create(status="accepted"),
        MatchFactory.create(status="expired"),
        MatchFactory.create(deleted=True),
    )
    late = MatchFactory.create(expires_at=expired.expires_at)
    assert set(Match.objects.alive()) == {this, accepted, expired, late}
    assert set(Match.objects.open()) == {this}
    assert set(Match.objects.in_week(2026, 2)) == {this}
    assert set(Match.objects.of(this.user)) == set(Match.objects.of(this.matched_user)) == {this}
    assert not Match.objects.of(UserFactory.create())
    assert deleted.deleted_at
    assert str(this) == str(this.pk)


def test_user_ids__ignore_the_order() -> None:
    match = MatchFactory.create()
    assert match.user_ids == {match.user_id, match.matched_user_id}


@pytest.mark.parametrize("turned", [False, True])
def test_full_clean__same_users_in_the_same_week__is_refused(turned: bool) -> None:
    match = MatchFactory.create()
    one, other = (match.matched_user, match.user) if turned else (match.user, match.matched_user)
    with pytest.raises(ValidationError) as caught:
        MatchFactory.build(user=one, matched_user=other, year=match.year, week_number=match.week_number).full_clean()
    assert caught.value.message_dict == {"matched_user": ["These two users already have a match in this week."]}


def test_full_clean__of_a_stored_match__is_accepted() -> None:
    match = MatchFactory.create()
    VideoCallFactory.create(match=match)
    match.full_clean()
    match.user, match.matched_user = match.matched_user, match.user
    match.full_clean()


@pytest.mark.parametrize("side", ["user", "matched_user"])
def test_full_clean__users_cannot_change(side: str) -> None:
    match = MatchFactory.create()
    setattr(match, side, UserFactory.create())
    with pytest.raises(ValidationError) as caught:
        match.full_clean()
    assert caught.value.message_dict == {"matched_user": ["The two users of a match cannot be changed."]}


def test_full_clean__without_a_user__reports_only_the_missing_user() -> None:
    match = MatchFactory.create()
    match.user_id = None  # type: ignore[assignment]
    with pytest.raises(ValidationError) as caught:
        match.full_clean()
    assert caught.value.message_dict == {"user": ["This field cannot be null."]}


def test_full_clean__soft_deleted_match_of_the_swapped_users__is_accepted_and_cannot_be_restored() -> None:
    deleted = MatchFactory.create(deleted=True)
    swapped = MatchFactory.build(user=deleted.matched_user, matched_user=deleted.user, year=deleted.year, week_number=deleted.week_number)
    swapped.full_clean()
    swapped.save()
    deleted.full_clean()
    deleted.deleted_at = None
    with pytest.raises(ValidationError) as caught:
        deleted.full_clean()
    assert caught.value.message_dict == {"matched_user": ["These two users already have a match in this week."]}
    with pytest.raises(IntegrityError, match="matches_pair_week_number_year_key"), transaction.atomic():
        deleted.save()


def test_full_clean__soft_deleted_match_of_the_same_users_in_the_same_order__is_refused() -> None:
    """The guide's own unique constraint covers soft-deleted rows."""
    match = MatchFactory.create(deleted=True)
    with pytest.raises(ValidationError) as caught:
        MatchFactory.build(user=match.user, matched_user=match.matched_user, year=match.year, week_number=match.week_number).full_clean()
    assert caught.value.message_dict == {"matched_user": ["These two users already have a match in this week."]}


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"week_number": 53, "year": 2025}, {"week_number": ["This ISO year does not have this week."]}),
        ({"week_number": 1, "year": 0}, {"week_number": ["This ISO year does not have this week."]}),
        ({"match_score": 1.5}, {"match_score": ["A match score is a number from 0 to 1."]}),
        ({"user_action": ""}, {"user_action": ["An action must be accepted, rejected or empty."]}),
    ],
)
def test_full_clean__shows_the_error_at_its_field(changes: dict[str, object], messages: dict[str, list[str]]) -> None:
    match = MatchFactory.create()
    for name, value in changes.items():
        setattr(match, name, value)
    with pytest.raises(ValidationError) as caught:
        match.full_clean()
    assert caught.value.message_dict == messages


def test_full_clean__user_with_themselves__is_refused() -> None:
    user = UserFactory.create()
    with pytest.raises(ValidationError) as caught:
        MatchFactory.build(user=user, matched_user=user).full_clean()
    assert caught.value.message_dict == {"matched_user": ["A user cannot be matched with themselves."]}
