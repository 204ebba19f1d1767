import pytest
from django.urls import reverse

from accounts.models import User
from tests.support.staff import signed_in, staff, superuser

pytestmark = pytest.mark.django_db


def shown(person: User) -> dict[str, list[str]]:
    """Return the titles in the sidebar of the first page, by section."""
    sections = signed_in(person).get(reverse("admin:index")).context["sidebar_navigation"]
    return {section["title"]: [item["title"] for item in section["items"] if item["has_permission"]] for section in sections}


def test_sidebar__superuser_sees_every_list() -> None:
    assert shown(superuser()) == {
        "": ["Users"],
        "User data": ["Videos", "Matches", "Calls", "Embeddings"],
        "Vector store": ["State", "Quarantined users"],
        "Backups": ["Status", "Deep verifications"],
        "Privacy": ["Requests", "Holds", "Audit log"],
        "Staff": ["Groups", "Log"],
    }


def test_sidebar__staff_see_the_lists_that_they_may_open() -> None:
    assert shown(staff("accounts.view_user", "matching.change_match")) == {"": ["Users"], "User data": ["Matches"]}


def test_sidebar__nothing_for_staff_without_permissions() -> None:
    assert shown(staff()) == {}


def test_sidebar__where_one_is() -> None:
    """A list whose address is only the beginning of the page's address is not marked."""
    client = signed_in(superuser())
    for page, title in (
        ("quarantineduser_state", "State"),
        ("quarantineduser_changelist", "Quarantined users"),
        ("profileembedding_changelist", "Embeddings"),
    ):
        sections = client.get(reverse(f"admin:vectorstore_{page}")).context["sidebar_navigation"]
        assert [item["title"] for section in sections for item in section["items"] if item["active"]] == [title]
