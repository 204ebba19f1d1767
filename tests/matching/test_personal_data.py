import pytest

from matching.models import Match
from matching.personal_data import Matches
from privacy.archive.zip_file import as_json
from tests.factories import MatchFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_export__has_every_column_of_matches_on_either_side() -> None:
    person = UserFactory.create()
    matches = [MatchFactory.create(user=person), MatchFactory.create(matched_user=person), MatchFactory.create(user=person, deleted=True)]
    MatchFactory.create()
    exported = list(Matches().export(person.pk))
    assert {row["id"] for row in exported} == {match.pk for match in matches}
    for row in exported:
        others_answer = "matched_user_action" if row["user_id"] == person.pk else "user_action"  # theirs: see the next test
        assert row.keys() == {field.column for field in Match._meta.concrete_fields} - {others_answer}


def test_export__has_only_the_users_own_answer() -> None:
    match = MatchFactory.create(status="pending", user_action="accepted", matched_user_action="rejected")
    (of_user,), (of_matched_user,) = (Matches().export(person) for person in (match.user_id, match.matched_user_id))
    assert of_user["user_action"] == "accepted" and "matched_user_action" not in of_user
    assert of_matched_user["matched_user_action"] == "rejected" and "user_action" not in of_matched_user


def test_export__has_only_the_id_of_the_other_user() -> None:
    match = MatchFactory.create()
    other = match.matched_user
    text = as_json(list(Matches().export(match.user_id)))
    assert str(other.pk) in text
    for words in (other.email, other.full_name, other.bio):
        assert str(words) not in text


def test_anonymize__changes_nothing() -> None:
    match = MatchFactory.create(status="accepted")
    before = list(Match.objects.values())
    Matches().anonymize(match.user_id)
    assert list(Match.objects.values()) == before


def test_effects__both_sides_are_counted() -> None:
    person = UserFactory.create()
    MatchFactory.create(user=person)
    MatchFactory.create(matched_user=person)
    MatchFactory.create()
    assert [str(line) for line in Matches().after_anonymization(person.pk)] == ["matches: 2, kept"]
    assert [str(line) for line in Matches().after_erasure(person.pk)] == ["matches: 2, deleted"]
