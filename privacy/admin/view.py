"""Page of a privacy action: GET shows the preview, POST runs the action."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from findme.core.errors import UserFacingError, one_line
from privacy.actions.export_link import make_export_link
from privacy.admin.actions import ACTIONS, EXPORT, PrivacyAction
from privacy.admin.download import export_for
from privacy.admin.execution import failures, format_results, run_for_each
from privacy.admin.selection import Selected, parse_user_ids, preview, select


def may_do(request: HttpRequest, action: PrivacyAction) -> bool:
    return bool(request.user.has_perm(f"accounts.{action.permission}"))


def page_url(action: PrivacyAction, user_ids: list[UUID]) -> str:
    """Return the URL of the action's page for these users."""
    return f"{reverse('admin:accounts_user_privacy', args=[action.slug])}?{urlencode([('user', str(user_id)) for user_id in user_ids])}"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def privacy_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any], slug: str) -> HttpResponseBase:
    action = ACTIONS.get(slug)
    if action is None:
        raise Http404(f"There is no privacy action {slug!r}.")
    if not may_do(request, action) or not model_admin.has_view_permission(request):
        raise PermissionDenied
    try:
        user_ids = parse_user_ids(request.GET.getlist("user"))
    except UserFacingError as error:
        messages.error(request, one_line(error))
        return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
    users = select(request.user, action, user_ids)
    if request.method != "POST":
        return _render_page(request, model_admin, action, users)
    return _run_action(request, model_admin, action, users)


def expected_words(users: list[Selected]) -> list[str]:
    """Return the texts that confirm a final action: one of them must be typed, in upper or lower case."""
    return [users[0].email, str(users[0].user_id)] if len(users) == 1 else [f"delete {len(users)} users"]


def _render_page(
    request: HttpRequest,
    model_admin: admin.ModelAdmin[Any],
    action: PrivacyAction,
    users: list[Selected],
    *,
    wrong_words: bool = False,
    wrong_day: str = "",
) -> HttpResponseBase:
    previews, problem = preview(action, users)
    allowed = [user for user in users if user.denial_reason is None]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": action.title,
        "opts": model_admin.opts,
        "original": None,
        "action": action,
        "previews": previews,
        "problem": problem,
        "can_be_done": bool(allowed) and (problem is None or not action.needs_stores),
        "allowed": allowed,
        "skipped": len(users) - len(allowed),
        "expected_words": expected_words(allowed) if action.is_final and allowed else [],
        "wrong_words": wrong_words,
        "wrong_day": wrong_day,
        "back": _back(users),
    }
    return TemplateResponse(request, "admin/privacy/action.html", context)


def _run_action(request: HttpRequest, model_admin: admin.ModelAdmin[Any], action: PrivacyAction, users: list[Selected]) -> HttpResponseBase:
    allowed = [user for user in users if user.denial_reason is None]
    if not allowed:
        messages.error(request, f"{action.noun} failed: {users[0].denial_reason}")
        return HttpResponseRedirect(_back(users))
    typed = request.POST.get("confirmation", "").strip().lower()
    if action.is_final and typed not in {words.lower() for words in expected_words(allowed)}:
        return _render_page(request, model_admin, action, users, wrong_words=True)
    arguments: dict[str, Any] = {}
    if action.asks_for_day:
        try:
            arguments["informed_on"] = date.fromisoformat(request.POST.get("informed_on", ""))
        except ValueError:
            wrong = "The day on which the user was informed is missing, or is no date: nothing was changed."
            return _render_page(request, model_admin, action, users, wrong_day=wrong)
    user_ids = [user.user_id for user in allowed]
    if action is EXPORT and "link" in request.POST and len(user_ids) == 1:
        return _make_link(request, model_admin, user_ids[0])
    return _export(request, user_ids) if action.perform is None else _perform(request, action, user_ids, arguments)


def _export(request: HttpRequest, user_ids: list[UUID]) -> HttpResponseBase:
    download, results = export_for(request.user, user_ids)
    for level, text in failures(EXPORT, results):
        messages.add_message(request, level, text)
    return HttpResponseRedirect(page_url(EXPORT, user_ids)) if download is None else download


def _make_link(request: HttpRequest, model_admin: admin.ModelAdmin[Any], user_id: UUID) -> HttpResponseBase:
    """Show the link of a new export, once: the database does not have it."""
    (result,) = run_for_each(EXPORT, partial(make_export_link, actor_id=request.user.pk), [user_id])
    if result.done is None:
        messages.error(request, f"{EXPORT.noun} failed: {result.reason}")
        return HttpResponseRedirect(page_url(EXPORT, [user_id]))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Link to an export",
        "opts": model_admin.opts,
        "original": None,
        "link": result.done,
        "url": request.build_absolute_uri(result.done.path),
        "back": reverse("admin:accounts_user_change", args=[user_id]),
    }
    response = TemplateResponse(request, "admin/privacy/export_link.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _perform(request: HttpRequest, action: PrivacyAction, user_ids: list[UUID], arguments: dict[str, Any]) -> HttpResponseBase:
    assert action.perform is not None
    notes = action.notes(user_ids) if action.notes is not None else {}
    results = run_for_each(action, partial(action.perform, actor_id=request.user.pk, **arguments), user_ids)
    for level, text in format_results(action, results):
        messages.add_message(request, level, text)
    for result in results:
        if result.done is not None and (note := notes.get(result.user_id)):
            messages.info(request, f"{result.user_id}: {note}")
    if len(results) > 1 or (action.is_final and results[0].done is not None):
        return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
    return HttpResponseRedirect(reverse("admin:accounts_user_change", args=user_ids))


def _back(users: list[Selected]) -> str:
    """Return the target of "Cancel": the user's page, or the list."""
    if len(users) == 1 and users[0].email:
        return reverse("admin:accounts_user_change", args=[users[0].user_id])
    return reverse("admin:accounts_user_changelist")
