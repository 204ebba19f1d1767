from uuid import UUID, uuid4

import pytest

from findme.core.errors import UserFacingError
from privacy.users import UserRow, anonymized_email, find_user_id, require_user
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("text", ["Jane@Example.com", "jane@example.com", "JANE@EXAMPLE.COM"])
def test_find_user_id__by_an_address_in_any_case(text: str) -> None:
    person = UserFactory.create(email="Jane@Example.com")
    UserFactory.create(email="jane@example.org")
    assert find_user_id(text) == person.pk


def test_find_user_id__by_any_uuid() -> None:
    person, unknown_id = UserFactory.create(), uuid4()
    assert find_user_id(str(person.pk)) == person.pk
    assert find_user_id(str(person.pk).upper()) == person.pk
    assert find_user_id(str(unknown_id)) == unknown_id


def test_find_user_id__an_unknown_address() -> None:
    with pytest.raises(UserFacingError) as refused:
        find_user_id("unknown@example.com")
    assert str(refused.value) == (
        "No user has the e-mail address 'unknown@example.com'. Anonymized or deleted users can only be found by UUID."
    )


@pytest.mark.parametrize("text", ["", "jane", "1234", "jane\udcff@example.com", "jane\n@example.com"])
def test_find_user_id__a_text_that_is_neither(text: str) -> None:
    with pytest.raises(UserFacingError) as refused:
        find_user_id(text)
    assert str(refused.value) == f"{text!r} is neither a UUID nor an e-mail address. Pass one of them."


def test_require_user__unknown() -> None:
    unknown_id = uuid4()
    with pytest.raises(UserFacingError) as refused:
        require_user(unknown_id)
    assert str(refused.value) == (
        f"PostgreSQL has no user with the id '{unknown_id}'. If the vector store still has a point, run: manage.py erase_user {unknown_id} --hard"
    )


def test_require_user__known() -> None:
    require_user(UserFactory.create().pk)


def test_anonymized_user__has_the_address_of_their_id() -> None:
    one, other = UUID(int=1), UUID(int=2)
    assert UserRow(one, anonymized_email(one), None).is_anonymized
    assert not UserRow(one, anonymized_email(other), None).is_anonymized
    assert anonymized_email(one) == "deleted_00000000-0000-0000-0000-000000000001@findme.ai"
