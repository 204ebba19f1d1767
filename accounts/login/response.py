"""Responses to a login, a password check or a password change that is not allowed now."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

BUSY_SECONDS = 5
SECONDS_OF_A_MINUTE = 60
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503


def _seconds(wait: timedelta) -> int:
    return max(1, math.ceil(wait.total_seconds()))


def refuse(request: HttpRequest, wait: timedelta, *, is_busy: bool = False) -> None:
    """Mark the request, so that the middleware of axes returns ``lockout_response``."""
    request.axes_locked_out = True  # type: ignore[attr-defined]  # the name that axes looks for
    request.login_refused = (_seconds(wait), is_busy)  # type: ignore[attr-defined]


def lockout_response(request: HttpRequest, *_response_and_credentials: Any) -> HttpResponse:
    """Return 429 for too many failures, or 503 for too many concurrent logins, with ``Retry-After``.

    The response is the same for every account, known or unknown.
    """
    seconds, is_busy = getattr(request, "login_refused", (BUSY_SECONDS, False))
    return _refusal(request, seconds, "Too many logins at once" if is_busy else "Login paused", is_busy=is_busy, is_login=True)


def busy_response(request: HttpRequest) -> HttpResponse:
    """Return 503 for any other page that hashes a password."""
    return _refusal(request, BUSY_SECONDS, "Too many passwords at once", is_busy=True, is_login=False)


def paused_response(request: HttpRequest, wait: timedelta) -> HttpResponse:
    """Return 429 for any other page that checks a password."""
    return _refusal(request, _seconds(wait), "Password check paused", is_busy=False, is_login=False)


def _refusal(request: HttpRequest, seconds: int, title: str, *, is_busy: bool, is_login: bool) -> HttpResponse:
    minutes = None if seconds < SECONDS_OF_A_MINUTE else math.ceil(seconds / SECONDS_OF_A_MINUTE)
    about = {"title": title, "is_busy": is_busy, "is_login": is_login, "seconds": seconds, "minutes": minutes}
    status = UNAVAILABLE if is_busy else TOO_MANY_REQUESTS
    response = render(request, "accounts/login_refused.html", {**admin.site.each_context(request), **about}, status=status)
    response["Retry-After"] = str(seconds)
    return response
