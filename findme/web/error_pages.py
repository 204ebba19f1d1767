"""Error pages that need no database: for an unavailable PostgreSQL (503) and for a defect (500)."""

from __future__ import annotations

import logging
import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from findme.core.errors import without_detail
from findme.core.postgresql.connection_errors import is_unavailable
from findme.web.request_log import RequestLine

logger = logging.getLogger(__name__)

UNAVAILABLE_STATUS = 503
RETRY_AFTER = 30
"""Seconds after which a client may try again."""


class PostgresqlUnavailable(MiddlewareMixin):
    """Middleware that answers 503 if PostgreSQL is unavailable in a view or its template."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return unavailable(request, error) if is_unavailable(error) else None


def unavailable(request: HttpRequest, error: BaseException) -> HttpResponse:
    """Return the page and log one line. Django would log a traceback for every request."""
    about = {"request": request, "status_code": UNAVAILABLE_STATUS}
    logger.error("PostgreSQL is unavailable: %s: %s", RequestLine(request), without_detail(error), extra=about)
    response = HttpResponse(render_to_string("503.html"), status=UNAVAILABLE_STATUS, headers={"Retry-After": str(RETRY_AFTER)})
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django then logs no second line
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page for any other error, also of middleware: PostgreSQL may be unavailable when it reads or saves a session."""
    error = sys.exc_info()[1]
    if error is not None and is_unavailable(error):
        return unavailable(request, error)
    return HttpResponse(render_to_string("500.html"), status=500)
