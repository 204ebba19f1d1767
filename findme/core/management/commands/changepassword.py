from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.management.commands import changepassword


class Command(changepassword.Command):
    help = "Django's changepassword, which refuses users whose data must not be changed."

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Change the password. ``User.require_changeable`` raises UserFacingError before the password is asked for."""
        name = {get_user_model().USERNAME_FIELD: options["username"]}
        user: Any = get_user_model()._default_manager.using(options["database"]).filter(**name).first()
        if user is not None:
            user.require_changeable()
        result: str | None = super().handle(*args, **options)
        return result
