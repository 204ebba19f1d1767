"""Staff users for tests of the admin, and what their browsers send."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import User
from findme.core.admin.edit_conflicts import OPENED_WITH
from tests.factories import PASSWORD, UserFactory


def staff(*permissions: str, **fields: Any) -> User:
    """Create a staff user with these permissions, such as ``accounts.view_user``."""
    person = UserFactory.create(staff=True, **fields)
    for name in permissions:
        label, codename = name.split(".")
        person.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    return person


def superuser(**fields: Any) -> User:
    return UserFactory.create(superuser=True, **fields)


def signed_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def opened(client: Client, address: str) -> dict[str, str]:
    """Open the page. Return what it posts next to its fields: the signed values that it was opened with."""
    form = client.get(address).context["adminform"].form
    return {OPENED_WITH: form.opened_with}


def save(client: Client, address: str, posted: dict[str, Any]) -> Any:
    """Open the page and save it at once."""
    return client.post(address, opened(client, address) | posted)


def said(response: Any) -> list[str]:
    """Return the messages of the response, or of the page that it redirects to."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def errors_of(response: Any) -> dict[str, list[str]]:
    """Return the errors of the form on the page by field."""
    return {field: [str(error) for error in errors] for field, errors in response.context["adminform"].form.errors.items()}


def person_form(person: User, **changes: Any) -> dict[str, Any]:
    """Return what a superuser posts to change these fields of the user."""
    shown = {
        "email": person.email,
        "full_name": person.full_name,
        "date_of_birth": person.date_of_birth.isoformat(),
        "gender": person.gender,
        "bio": person.bio or "",
        "video": person.video_id or "",
        "verified": "on" if person.verified else "",
        "active": "on" if person.active else "",
        "is_staff": "on" if person.is_staff else "",
        "is_superuser": "on" if person.is_superuser else "",
    }
    return {name: value for name, value in (shown | changes).items() if value != ""}


def change_page(row: Model) -> str:
    """Return the address of the row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def new_user_form(**changes: Any) -> dict[str, Any]:
    """Return what the page "Add user" posts."""
    shown = {"email": "new@example.com", "full_name": "New Person", "date_of_birth": "1999-12-31", "gender": "female", "active": "on"}
    return shown | {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD} | changes
