"""The admin's forms for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ValidationError

from accounts.age import today
from accounts.models import User
from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.errors import UserFacingError, one_line
from privacy.actions.superusers import check_removal

if TYPE_CHECKING:
    from datetime import date

    from django.contrib.auth.forms import AdminUserCreationForm as _AdminUserCreationForm

    AdminUserCreationForm = _AdminUserCreationForm[User]
else:
    from unfold.forms import UserCreationForm as AdminUserCreationForm


class _PersonRules:
    """What a form asks of a person beyond what the model does."""

    cleaned_data: dict[str, Any]
    instance: User

    def clean_date_of_birth(self) -> date:
        born: date = self.cleaned_data["date_of_birth"]
        if born > today():
            raise ValidationError("A date of birth does not lie in the future.")
        return born


RIGHTS_OF_A_SUPERUSER = ("active", "is_staff", "is_superuser")


class PersonForm(_PersonRules, DatabaseErrorForm):
    """A person who is there."""

    actor_id: UUID | None = None
    """Who changes the person: set on the class, which the admin creates for every request."""

    def clean(self) -> dict[str, Any] | None:
        """Django holds the lock of the person's row here, and saves in the same transaction."""
        cleaned = super().clean()
        if any(self.cleaned_data.get(name) is False for name in RIGHTS_OF_A_SUPERUSER if name in self.fields):
            try:
                check_removal(self.instance.pk, self.actor_id)
            except UserFacingError as error:
                raise ValidationError(one_line(error)) from error
        return cleaned


class NewPersonForm(_PersonRules, DatabaseErrorForm, AdminUserCreationForm):
    """A person to be made, with a password or without one."""

    class Meta:
        model = User
        fields = ("email", "full_name", "date_of_birth", "gender", "bio", "verified", "active")
