"""Status page of the vector store: collections, queue, last verification and quarantined users.

On request it also shows what ``init_qdrant`` would do.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from findme.core.errors import UserFacingError, one_line
from findme.core.plurals import counted
from vectorstore.queue.entries import retry
from vectorstore.status import differing, state

COLUMNS = ("points", "missing", "orphaned", "stale payload", "stale vector", "foreign vector", "pending", "quarantined", "unallocated")
"""Counts of a verification, for each collection."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def state_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> HttpResponse:
    """Show the status page. POST retries all quarantined users.

    The page queries Qdrant only with ``?plan=``. If Qdrant is unavailable, the page shows the error next to the rest.
    """
    may_retry = request.user.has_perm("vectorstore.retry_quarantined")
    if not model_admin.has_view_permission(request) or (request.method == "POST" and not may_retry):
        raise PermissionDenied
    if request.method == "POST":
        messages.success(request, f"{counted(retry(None, actor_id=request.user.pk), 'user is', 'users are')} on the queue again.")
        return HttpResponseRedirect(request.path)
    found = state()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Vector store",
        "state": found,
        "may_retry": may_retry,
        "oldest": None if found.oldest_seconds is None else duration(found.oldest_seconds),
        **(_verification_table(found.verification.result) if found.verification else {}),
        "quarantine_url": reverse("admin:vectorstore_quarantineduser_changelist"),
        **(_init_plan() if "plan" in request.GET else {}),
    }
    return TemplateResponse(request, "admin/vectorstore/state.html", context)


def duration(seconds: float) -> str:
    """Format the duration in the largest unit of which it has at least two."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return counted(round(max(seconds, 0)), "second")


def _verification_table(found: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of a verification as a table with one row for each collection."""
    collections = [(name, [f"{counts.get(kind, 0):,}" for kind in COLUMNS]) for name, counts in found["collections"].items()]
    return {"differing": differing(found), "kinds": COLUMNS, "verified": collections}


def _init_plan() -> dict[str, Any]:
    """Return the plan of ``init_qdrant``, or the problem if Qdrant cannot be queried."""
    # qdrant-client takes most of a second to import, and every command imports this module.
    from vectorstore.schema.initialize import compare

    try:
        return {"plan": compare()}
    except UserFacingError as error:
        return {"problem": one_line(error)}
