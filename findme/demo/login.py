"""The demo's own login for the admin."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import date

from django.contrib.auth.hashers import make_password

from accounts.models import User
from findme.demo.dataset import ADMIN_EMAIL, ADMIN_ID


@dataclass(frozen=True, slots=True)
class Login:
    email: str
    password: str = field(repr=False)


def renew_login() -> Login:
    """Make the demo's superuser, or put it right again, with a new random password; who was logged in with the old one no longer is."""
    password = secrets.token_urlsafe(12)
    User.objects.update_or_create(
        pk=ADMIN_ID,
        defaults={
            "email": ADMIN_EMAIL,
            "password": make_password(password),
            "full_name": "Admin of the demo",
            "date_of_birth": date(1990, 1, 1),
            "gender": User.Gender.OTHER,
            "bio": None,
            "video": None,
            "verified": False,
            "active": True,
            "deleted_at": None,
            "is_staff": True,
            "is_superuser": True,
        },
    )
    return Login(ADMIN_EMAIL, password)
