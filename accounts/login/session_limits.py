"""End of a session: 12 hours after the login (SESSION_COOKIE_AGE, also the age of the cookie).

For staff who may export or erase, or who handle requests, a session also ends after 30 minutes without a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase

IDLE_SECONDS = 30 * 60
ACTIVITY_UPDATE_SECONDS = 60
"""How often an active session stores its last use. Each time costs an UPDATE."""

STARTED_AT, SEEN_AT = "login_at", "seen_at"
SENSITIVE = (
    *("accounts.export_personal_data", "accounts.anonymize_user", "accounts.erase_user"),
    *("privacy.handle_requests", "privacy.decide_requests", "privacy.handle_holds"),
)


def start_session(request: HttpRequest | None = None, **_rest: Any) -> None:
    """Store the start of the session. Receiver of ``user_logged_in``."""
    if request is not None and hasattr(request, "session"):
        now = int(time.time())
        request.session.update({STARTED_AT: now, SEEN_AT: now})


def limit_sessions(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Log out users whose session has ended. This middleware must come after AuthenticationMiddleware."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.session.get(SESSION_KEY) is not None:
            _check(request)
        return get_response(request)

    return middleware


def _check(request: HttpRequest) -> None:
    now = int(time.time())
    used_seconds, idle_seconds = (now - request.session.get(name, 0) for name in (STARTED_AT, SEEN_AT))
    if used_seconds >= settings.SESSION_COOKIE_AGE or (idle_seconds >= IDLE_SECONDS and _has_sensitive_permission(request)):
        logout(request)
    elif idle_seconds >= ACTIVITY_UPDATE_SECONDS:
        request.session[SEEN_AT] = now


def _has_sensitive_permission(request: HttpRequest) -> bool:
    return any(request.user.has_perm(permission) for permission in SENSITIVE)
