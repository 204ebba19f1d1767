"""The admin's forms for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from accounts.age import today
from accounts.models import User
from findme.admin.refusal import RefusableForm

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

    def clean_video(self) -> Any:
        video = self.cleaned_data["video"]
        if video is not None and video.user_id != self.instance.pk:
            raise ValidationError("This video is another person's.")
        return video


class PersonForm(_PersonRules, RefusableForm):
    """A person who is there."""


class NewPersonForm(_PersonRules, RefusableForm, AdminUserCreationForm):
    """A person to be made, with a password or without one."""

    class Meta:
        model = User
        fields = ("email", "full_name", "date_of_birth", "gender", "bio", "verified", "active")
