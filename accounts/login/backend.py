"""Authentication backend: it hashes passwords only for allowed attempts, and counts each failure before the next attempt."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesStandaloneBackend
from axes.exceptions import AxesBackendPermissionDenied
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.login import attempts
from accounts.login.client import client_network
from accounts.login.hash_limit import LoginBusy
from accounts.login.hashing import hashing_turn
from accounts.login.response import BUSY_SECONDS, refuse
from accounts.models import User

log = logging.getLogger(__name__)


class LoginBackend(AxesStandaloneBackend, ModelBackend):  # type: ignore[misc]  # axes has no types
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user, or None for a wrong name or password. Raise PermissionDenied if an attempt is not allowed now.

        Without a request, the server's own code makes the call, and nothing is counted.
        """
        name = username if username is not None else kwargs.get(User.USERNAME_FIELD)
        if request is None or name is None or password is None:
            return self._check(request, name, password)
        network = client_network(request)
        try:
            with hashing_turn(network), attempts.network_lock(network):
                user, wait = self._try(request, name, password, network)
        except LoginBusy:
            refuse(request, timedelta(seconds=BUSY_SECONDS), is_busy=True)
            raise AxesBackendPermissionDenied("Too many logins at once.") from None
        if wait is not None:
            refuse(request, wait)
            raise AxesBackendPermissionDenied("Too many failed logins.")
        return user

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Call ``authenticate``. Django's own method would check the password without counting."""
        return await sync_to_async(self.authenticate)(request, username=username, password=password, **kwargs)

    def user_can_authenticate(self, user: Any) -> bool:
        """Return whether the user may log in. Why an account is refused after a restore is said in the log only: outside, it looks like a wrong password."""
        if getattr(user, "unconfirmed_at", None) is not None:
            log.warning(
                "Login refused: account %s is disabled since a restore. Confirm it with manage.py confirm_staff %s", user.pk, user.pk
            )
        return super().user_can_authenticate(user)

    def _try(self, request: HttpRequest, name: str, password: str, network: str) -> tuple[User | None, timedelta | None]:
        account = attempts.find_account(name)
        if (wait := attempts.time_to_wait(account, network)) is not None:
            return None, wait
        user = self._check(request, name, password)
        if user is None:
            attempts.record_failure(name, account, network)
        else:
            attempts.forget_failures(account, network)
        return user, None

    def _check(self, request: HttpRequest | None, name: str | None, password: str | None) -> User | None:
        user: User | None = ModelBackend.authenticate(self, request, username=name, password=password)
        return user
