"""Answer the two addresses for load balancers and supervisors, before every other middleware.

A check comes from the internal network, over HTTP and to an IP address. So it is not redirected to HTTPS, not compared with ALLOWED_HOSTS, and
needs no session.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase

from findme.web.health.report import Report

OK, UNAVAILABLE = 200, 503
METHODS = ("GET", "HEAD")


def answer_health_checks(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    # Imported by each server as it starts. Every command imports this module, and the qdrant-client of the watcher takes a second.
    from findme.web.health.watcher import WATCHER

    answers: dict[str, Callable[[], HttpResponse]] = {"/healthz": _healthz, "/readyz": lambda: _readyz(WATCHER.report())}

    def middleware(request: HttpRequest) -> HttpResponseBase:
        answer = answers.get(request.path_info)
        if answer is None:
            return get_response(request)
        response = answer() if request.method in METHODS else HttpResponseNotAllowed(METHODS)
        response._has_been_logged = True  # type: ignore[attr-defined]  # otherwise Django logs an error for each 503, every few seconds
        response["Cache-Control"], response["X-Content-Type-Options"] = "no-store", "nosniff"
        return response

    return middleware


def _healthz() -> HttpResponse:
    """Answer without a store: a supervisor must not restart processes because PostgreSQL is unavailable."""
    return JsonResponse({"status": "ok"})


def _readyz(report: Report) -> HttpResponse:
    return JsonResponse(report.as_json(), status=OK if report.is_ready else UNAVAILABLE)
