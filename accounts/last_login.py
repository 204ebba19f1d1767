"""The time of the last login."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.utils import timezone

from accounts.models import User

DISPATCH_UID = "update_last_login"
"""The uid of Django's receiver, which this one replaces."""


def record_last_login(user: User, **_rest: Any) -> None:
    """Set ``last_login``, unless the user is deleted or anonymized.

    Django's receiver can wait for the lock of an anonymization and would then write to the anonymized row.
    """
    user.last_login = timezone.now()
    User.objects.alive().filter(pk=user.pk).update(last_login=user.last_login)


def replace_receiver() -> None:
    """Replace Django's receiver. The order of the apps does not matter: Django skips a uid that is already connected."""
    user_logged_in.disconnect(dispatch_uid=DISPATCH_UID)
    user_logged_in.connect(record_last_login, dispatch_uid=DISPATCH_UID)
