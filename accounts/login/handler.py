"""Handler that django-axes calls for Django's signals. The backend has already counted the failures."""

from __future__ import annotations

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from django.http import HttpRequest

from accounts.login import attempts
from accounts.login.client import client_network
from accounts.login.retention import delete_old_records_hourly
from accounts.models import User


class LoginHandler(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """Replace the handler of axes, which stores posted forms and e-mail addresses, and counts after the password check."""

    def is_locked(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        name = str((credentials or {}).get("username") or "")
        return attempts.time_to_wait(attempts.find_account(name), client_network(request)) is not None

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
        """Delete old records. The backend has counted the failure."""
        delete_old_records_hourly()

    def user_logged_in(self, sender: Any, request: HttpRequest | None, user: User, **kwargs: Any) -> None:
        if request is not None:
            attempts.record_login(user, client_network(request))
        delete_old_records_hourly()

    def user_logged_out(self, sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
        """Store nothing."""
