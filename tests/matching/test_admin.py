from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from matching.models import Match
from privacy.models.request_choices import State
from tests.factories import MatchFactory, UserFactory, VideoCallFactory, now
from tests.privacy.requests.rows import request_in
from tests.support.staff import errors_of, save, signed_in, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:matching_match_changelist")
ADD = reverse("admin:matching_match_add")


def new_match(**fields: Any) -> dict[str, Any]:
    shown = {
        "year": 2026,
        "week_number": 10,
        "match_score": 0.5,
        "status": "pending",
        "expires_at_0": "2026-03-15",
        "expires_at_1": "12:00",
    }
    return {"user": UserFactory.create().pk, "matched_user": UserFactory.create().pk} | shown | fields


@pytest.mark.parametrize("by", ["pk", "user_id", "matched_user_id"])
def test_search__by_uuid(by: str) -> None:
    match = MatchFactory.create_batch(3)[1]
    assert list(signed_in(superuser()).get(LIST, {"q": str(getattr(match, by))}).context["cl"].result_list) == [match]


def test_add__match() -> None:
    assert signed_in(superuser()).post(ADD, new_match()).status_code == 302
    assert Match.objects.get().week_number == 10


def test_add__same_users_in_the_other_order__is_refused() -> None:
    match = MatchFactory.create(year=2026, week_number=10)
    response = signed_in(superuser()).post(ADD, new_match(user=match.matched_user_id, matched_user=match.user_id))
    assert errors_of(response) == {"matched_user": ["These two users already have a match in this week."]}


def test_add__user_with_themselves__is_refused() -> None:
    person = UserFactory.create()
    response = signed_in(superuser()).post(ADD, new_match(user=person.pk, matched_user=person.pk))
    assert errors_of(response) == {"matched_user": ["A user cannot be matched with themselves."]}


def test_add__week_that_does_not_exist__is_refused() -> None:
    assert errors_of(signed_in(superuser()).post(ADD, new_match(year=2025, week_number=53))) == {
        "week_number": ["This ISO year does not have this week."]
    }


def test_change__outcome_is_editable_and_facts_are_not() -> None:
    match = MatchFactory.create(match_score=0.25)
    posted = new_match(status="accepted", user_action="accepted", matched_user_action="accepted", match_score=0.99)
    assert save(signed_in(superuser()), reverse("admin:matching_match_change", args=[match.pk]), posted).status_code == 302
    changed = Match.objects.get()
    assert (changed.status, changed.user_action) == ("accepted", "accepted")
    assert (changed.user_id, changed.matched_user_id, changed.match_score) == (match.user_id, match.matched_user_id, 0.25)
    assert (changed.year, changed.week_number) == (match.year, match.week_number)


def test_page__links_to_its_calls() -> None:
    match = MatchFactory.create()
    VideoCallFactory.create_batch(2, match=match)
    VideoCallFactory.create()
    client = signed_in(superuser())
    (link,) = client.get(reverse("admin:matching_match_change", args=[match.pk])).context["related"]
    assert (link["title"], link["count"], len(client.get(link["url"]).context["cl"].result_list)) == ("Calls", 2, 2)


@pytest.mark.parametrize("role", ["user", "matched_user"])
def test_change__of_a_restricted_user__only_for_an_approved_rectification(role: str) -> None:
    match = MatchFactory.create()
    person_id = getattr(match, f"{role}_id")
    User.objects.filter(pk=person_id).update(restricted_at=now())
    address, client, posted = reverse("admin:matching_match_change", args=[match.pk]), signed_in(superuser()), new_match(status="rejected")
    assert errors_of(save(client, address, posted)) == {
        "__all__": [
            "A user of this row is restricted: matches of a restricted user can be changed only for their own approved request for a rectification."
        ]
    }
    request_in(State.APPROVED, kind="rectification", user_id=person_id)
    assert save(client, address, posted).status_code == 302
