"""Permissions to open, change and create users in the admin, and log-outs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from accounts.models import User
from tests.factories import PASSWORD, UserFactory
from tests.support.staff import change_page, new_user_form, person_form, save, signed_in, staff, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:accounts_user_changelist")
ADD = reverse("admin:accounts_user_add")
CHANGE_USERS = ("accounts.view_user", "accounts.change_user", "accounts.add_user")


def password_page(person: User) -> str:
    return reverse("admin:auth_user_password_change", args=[person.pk])


def test_list__member() -> None:
    assert signed_in(UserFactory.create()).get(LIST).status_code == 302


def test_list__staff_without_permission() -> None:
    assert signed_in(staff()).get(LIST).status_code == 403


def test_list__staff_with_permission() -> None:
    assert signed_in(staff("accounts.view_user")).get(LIST).status_code == 200


@pytest.mark.parametrize("change", [{"active": False}, {"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"is_staff": False}])
def test_session__ends_with_the_next_request(change: dict[str, Any]) -> None:
    person = staff("accounts.view_user")
    client = signed_in(person)
    assert client.get(LIST).status_code == 200
    User.objects.filter(pk=person.pk).update(**change)
    assert client.get(LIST).headers["Location"].startswith(reverse("admin:login"))


@pytest.mark.parametrize("trait", ["inactive", "deleted", "anonymized"])
def test_login__refused(trait: str, client: Any) -> None:
    person = UserFactory.create(superuser=True, **{trait: True})
    response = client.post(reverse("admin:login"), {"username": person.email, "password": PASSWORD})
    assert response.status_code == 200 and response.context["form"].errors


def test_login__without_next_leads_to_the_admin(client: Any) -> None:
    """The default of Django is a URL that does not exist in this project."""
    response = client.post(reverse("admin:login"), {"username": superuser().email, "password": PASSWORD})
    assert response.status_code == 302 and response.headers["Location"] == reverse("admin:index")


def test_login__in_another_case(client: Any) -> None:
    person = superuser(email="Root@example.com")
    response = client.post(reverse("admin:login"), {"username": "rOOT@EXAMPLE.com", "password": PASSWORD})
    assert response.status_code == 302 and client.session["_auth_user_id"] == str(person.pk)


def test_change__member() -> None:
    person = UserFactory.create()
    assert save(signed_in(staff(*CHANGE_USERS)), change_page(person), person_form(person, full_name="Changed")).status_code == 302
    person.refresh_from_db()
    assert person.full_name == "Changed"


@pytest.mark.parametrize("trait", ["staff", "superuser"])
@pytest.mark.parametrize("address", [change_page, password_page])
def test_change__of_a_colleague_or_superuser__is_refused(trait: str, address: Any) -> None:
    colleague = UserFactory.create(**{trait: True})
    before = colleague.password, colleague.email
    posted = person_form(colleague, email="taken.over@example.com") | {"password1": "another-one-5", "password2": "another-one-5"}
    assert signed_in(staff(*CHANGE_USERS)).post(address(colleague), posted | {"usable_password": "true"}).status_code == 403
    colleague.refresh_from_db()
    assert (colleague.password, colleague.email) == before


def test_change__a_colleague_can_be_viewed() -> None:
    response = signed_in(staff(*CHANGE_USERS)).get(change_page(superuser()))
    assert response.status_code == 200 and b'name="_save"' not in response.content


def test_password__member() -> None:
    person = UserFactory.create()
    posted = {"password1": "another-one-5", "password2": "another-one-5"}
    assert signed_in(staff(*CHANGE_USERS)).post(password_page(person), posted).status_code == 302
    person.refresh_from_db()
    assert person.check_password("another-one-5")


def test_password__colleague_by_superuser() -> None:
    colleague = staff()
    posted = {"password1": "another-one-5", "password2": "another-one-5"}
    assert signed_in(superuser()).post(password_page(colleague), posted).status_code == 302
    colleague.refresh_from_db()
    assert colleague.check_password("another-one-5")


@pytest.mark.parametrize("target", ["oneself", "a member"])
def test_change__cannot_grant_rights(target: str) -> None:
    """Values of fields that only a superuser's form has are ignored."""
    person = staff(*CHANGE_USERS)
    target_person = person if target == "oneself" else UserFactory.create()
    group = Group.objects.create(name="All-powerful")
    posted = person_form(target_person) | {
        "is_staff": "on",
        "is_superuser": "on",
        "groups": [group.pk],
        "user_permissions": [Permission.objects.get(codename="erase_user").pk],
    }
    before = target_person.is_staff
    assert save(signed_in(person), change_page(target_person), posted).status_code == 302
    target_person.refresh_from_db()
    assert (target_person.is_superuser, target_person.is_staff) == (False, before)
    assert not target_person.groups.exists() and not target_person.has_perm("accounts.erase_user")


def test_change__a_superuser_can_make_staff() -> None:
    person, group = UserFactory.create(), Group.objects.create(name="Support")
    posted = person_form(person, is_staff="on") | {"groups": [group.pk]}
    assert save(signed_in(superuser()), change_page(person), posted).status_code == 302
    person.refresh_from_db()
    assert person.is_staff and list(person.groups.all()) == [group]


def test_change__a_superuser_cannot_remove_their_own_rights() -> None:
    person = superuser()
    posted = person_form(person, full_name="Still Here", active="", is_staff="", is_superuser="")
    assert save(signed_in(person), change_page(person), posted).status_code == 302
    person.refresh_from_db()
    assert (person.full_name, person.active, person.is_staff, person.is_superuser) == ("Still Here", True, True, True)


@pytest.mark.parametrize("trait", ["deleted", "anonymized"])
@pytest.mark.parametrize("address", [change_page, password_page])
def test_change__a_removed_user_is_not_changed(trait: str, address: Any) -> None:
    person = UserFactory.create(**{trait: True})
    client = signed_in(superuser())
    assert client.get(change_page(person)).status_code == 200
    assert client.post(address(person), person_form(person, full_name="Back again")).status_code == 403


def test_add__user() -> None:
    response = signed_in(staff(*CHANGE_USERS)).post(ADD, new_user_form(is_staff="on", is_superuser="on"))
    person = User.objects.get(email="new@example.com")
    assert response.headers["Location"] == change_page(person)
    assert person.check_password(PASSWORD) and not person.is_staff and not person.is_superuser


def test_add__without_password() -> None:
    signed_in(superuser()).post(ADD, new_user_form(usable_password="false", password1="", password2=""))
    assert not User.objects.get(email="new@example.com").has_usable_password()


def test_add__without_permission() -> None:
    assert signed_in(staff("accounts.view_user")).post(ADD, new_user_form()).status_code == 403


def test_delete__is_not_allowed() -> None:
    person = UserFactory.create()
    client = signed_in(superuser())
    assert client.post(reverse("admin:accounts_user_delete", args=[person.pk]), {"post": "yes"}).status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": [str(person.pk)], "post": "yes"})
    assert User.objects.filter(pk=person.pk).exists()


def test_list__has_no_delete_selected() -> None:
    UserFactory.create()
    response = signed_in(superuser()).get(LIST)
    choices = [name for name, _ in response.context["action_form"].fields["action"].choices]
    hiding = ["restrict", "lift_restriction", "stop_matching", "delete_embedding", "resume_matching"]
    assert choices == ["", *(f"{name}_selected" for name in ("export", "anonymize", "soft_delete", "erase", *hiding))]


def test_page__no_part_of_a_password_hash() -> None:
    person = UserFactory.create()
    client = signed_in(superuser())
    for address in (change_page(person), password_page(person), LIST):
        assert person.password.encode() not in client.get(address).content
        assert b"md5" not in client.get(address).content


def test_list__cannot_be_filtered_by_password() -> None:
    assert signed_in(superuser()).get(LIST, {"password__startswith": "md5"}).status_code == 400


def test_groups__offer_only_declared_permissions() -> None:
    form = signed_in(superuser()).get(reverse("admin:auth_group_add")).context["adminform"].form
    assert [f"{permission.content_type.app_label}.{permission.codename}" for permission in form.fields["permissions"].queryset] == [
        *(f"accounts.{codename}" for codename in ("add_user", "anonymize_user", "change_user", "erase_user", "export_personal_data")),
        *("accounts.restrict_user", "accounts.soft_delete_user", "accounts.stop_matching_user", "accounts.view_user"),
        *("admin.view_logentry", "auth.view_group", "backups.view_backup", "backups.view_backupverification"),
        *("calls.add_videocall", "calls.change_videocall", "calls.view_videocall"),
        *("matching.add_match", "matching.change_match", "matching.view_match"),
        *(
            "privacy.view_auditentry",
            "privacy.decide_requests",
            "privacy.handle_requests",
            "privacy.view_datasubjectrequest",
            "privacy.handle_holds",
            "privacy.view_hold",
        ),
        *("vectorstore.view_profileembedding", "vectorstore.retry_quarantined", "vectorstore.view_quarantineduser"),
        *("videos.add_video", "videos.change_video", "videos.view_video"),
    ]


def test_groups__superusers_only() -> None:
    person = staff("auth.add_group", "auth.change_group", "auth.delete_group", "auth.view_group")
    group = Group.objects.create(name="Support")
    person.groups.add(group)
    address = reverse("admin:auth_group_change", args=[group.pk])
    posted = {"name": "Support", "permissions": [Permission.objects.get(codename="erase_user").pk]}
    client = signed_in(person)
    assert client.get(address).status_code == 200
    assert client.post(address, posted).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), posted).status_code == 403
    assert not group.permissions.exists()
    assert save(signed_in(superuser()), address, posted).status_code == 302
    assert group.permissions.get().codename == "erase_user"
