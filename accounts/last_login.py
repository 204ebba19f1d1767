"""When somebody logged in last."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.utils import timezone

from accounts.models import User

DISPATCH_UID = "update_last_login"
"""Django's, of the receiver that this one stands in for."""


def note_login(user: User, **_rest: Any) -> None:
    """Write the time for somebody who is still there. Django's receiver would write it also after an anonymization that it had to wait for."""
    user.last_login = timezone.now()
    User.objects.alive().filter(pk=user.pk).update(last_login=user.last_login)


def replace_receiver() -> None:
    """Whichever app is ready first: Django does not connect its own where one with its name is connected."""
    user_logged_in.disconnect(dispatch_uid=DISPATCH_UID)
    user_logged_in.connect(note_login, dispatch_uid=DISPATCH_UID)
