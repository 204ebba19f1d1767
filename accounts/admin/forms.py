"""Admin forms for users."""

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


class _DateOfBirthRule:
    """Form rule that the model does not have."""

    cleaned_data: dict[str, Any]
    instance: User

    def clean_date_of_birth(self) -> date:
        born: date = self.cleaned_data["date_of_birth"]
        if born > today():
            raise ValidationError("A date of birth must not be in the future.")
        return born


SUPERUSER_RIGHTS = ("active", "is_staff", "is_superuser")


class UserForm(_DateOfBirthRule, DatabaseErrorForm):
    """Form that changes a user."""

    actor_id: UUID | None = None
    """The user who saves the form. Set on the class, which the admin creates for every request."""

    def clean(self) -> dict[str, Any] | None:
        """Keep the last active superuser. Django has locked the user's row and saves in the same transaction."""
        cleaned = super().clean()
        if any(self.cleaned_data.get(name) is False for name in SUPERUSER_RIGHTS if name in self.fields):
            try:
                check_removal(self.instance.pk, self.actor_id)
            except UserFacingError as error:
                raise ValidationError(one_line(error)) from error
        return cleaned


class NewUserForm(_DateOfBirthRule, DatabaseErrorForm, AdminUserCreationForm):
    """Form that creates a user, with or without a password."""

    class Meta:
        model = User
        fields = ("email", "full_name", "date_of_birth", "gender", "bio", "verified", "active")
