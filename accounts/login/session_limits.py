"""When a session ends: 12 hours after the log-in (SESSION_COOKIE_AGE, the age of the cookie as well), and for staff who may export or erase also after 30 minutes without a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase

IDLE_SECONDS = 30 * 60
NOTED_EVERY_SECONDS = 60
"""How often a session notes that it is in use: each time is an UPDATE."""

BEGUN_AT, SEEN_AT = "login_at", "seen_at"
EXPORT_OR_ERASE = ("accounts.export_personal_data", "accounts.anonymize_user", "accounts.erase_user")


def begin_session(request: HttpRequest | None = None, **_rest: Any) -> None:
    """Receiver of ``user_logged_in``."""
    if request is not None and hasattr(request, "session"):
        now = int(time.time())
        request.session.update({BEGUN_AT: now, SEEN_AT: now})


def limit_sessions(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware, behind AuthenticationMiddleware: log out a user whose session is over."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.session.get(SESSION_KEY) is not None:
            _check(request)
        return get_response(request)

    return middleware


def _check(request: HttpRequest) -> None:
    now = int(time.time())
    used_seconds, idle_seconds = (now - request.session.get(name, 0) for name in (BEGUN_AT, SEEN_AT))
    if used_seconds >= settings.SESSION_COOKIE_AGE or (idle_seconds >= IDLE_SECONDS and _may_export_or_erase(request)):
        logout(request)
    elif idle_seconds >= NOTED_EVERY_SECONDS:
        request.session[SEEN_AT] = now


def _may_export_or_erase(request: HttpRequest) -> bool:
    return any(request.user.has_perm(permission) for permission in EXPORT_OR_ERASE)
