"""The page of a privacy action: GET shows what will happen, POST does it."""

from __future__ import annotations

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
from privacy.admin.actions import ACTIONS, EXPORT, PrivacyAction
from privacy.admin.download import export_for
from privacy.admin.execution import failures, format_results, run_for_each
from privacy.admin.selection import Selected, ids_from, preview, select


def may_do(request: HttpRequest, action: PrivacyAction) -> bool:
    return bool(request.user.has_perm(f"accounts.{action.permission}"))


def address_of(action: PrivacyAction, user_ids: list[UUID]) -> str:
    """The URL of the action's page for these people."""
    return f"{reverse('admin:accounts_user_privacy', args=[action.slug])}?{urlencode([('person', str(user_id)) for user_id in user_ids])}"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def privacy_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any], slug: str) -> HttpResponseBase:
    action = ACTIONS.get(slug)
    if action is None:
        raise Http404(f"There is no privacy action {slug!r}.")
    if not may_do(request, action) or not model_admin.has_view_permission(request):
        raise PermissionDenied
    try:
        user_ids = ids_from(request.GET.getlist("person"))
    except UserFacingError as error:
        messages.error(request, one_line(error))
        return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
    people = select(request.user, action, user_ids)
    if request.method != "POST":
        return _shown(request, model_admin, action, people)
    return _done(request, model_admin, action, people)


def expected_words(people: list[Selected]) -> list[str]:
    """What is to be typed before somebody is deleted for good: one of these, in whatever case."""
    return [people[0].email, str(people[0].user_id)] if len(people) == 1 else [f"delete {len(people)} people"]


def _shown(
    request: HttpRequest, model_admin: admin.ModelAdmin[Any], action: PrivacyAction, people: list[Selected], *, wrong_words: bool = False
) -> HttpResponseBase:
    previews, problem = preview(action, people)
    allowed = [person for person in people if person.denial_reason is None]
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
        "skipped": len(people) - len(allowed),
        "expected_words": expected_words(allowed) if action.is_final and allowed else [],
        "wrong_words": wrong_words,
        "back": _back(people),
    }
    return TemplateResponse(request, "admin/privacy/action.html", context)


def _done(request: HttpRequest, model_admin: admin.ModelAdmin[Any], action: PrivacyAction, people: list[Selected]) -> HttpResponseBase:
    allowed = [person for person in people if person.denial_reason is None]
    if not allowed:
        messages.error(request, f"{action.noun} failed: {people[0].denial_reason}")
        return HttpResponseRedirect(_back(people))
    typed = request.POST.get("confirmation", "").strip().lower()
    if action.is_final and typed not in {words.lower() for words in expected_words(allowed)}:
        return _shown(request, model_admin, action, people, wrong_words=True)
    user_ids = [person.user_id for person in allowed]
    return _exported(request, user_ids) if action.perform is None else _performed(request, action, user_ids)


def _exported(request: HttpRequest, user_ids: list[UUID]) -> HttpResponseBase:
    download, results = export_for(request.user, user_ids)
    for level, text in failures(EXPORT, results):
        messages.add_message(request, level, text)
    return HttpResponseRedirect(address_of(EXPORT, user_ids)) if download is None else download


def _performed(request: HttpRequest, action: PrivacyAction, user_ids: list[UUID]) -> HttpResponseBase:
    assert action.perform is not None
    results = run_for_each(action, partial(action.perform, actor_id=request.user.pk), user_ids)
    for level, text in format_results(action, results):
        messages.add_message(request, level, text)
    if len(results) > 1 or (action.is_final and results[0].done is not None):
        return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
    return HttpResponseRedirect(reverse("admin:accounts_user_change", args=user_ids))


def _back(people: list[Selected]) -> str:
    """Where "Cancel" leads: the person's page, or the list."""
    if len(people) == 1 and people[0].email:
        return reverse("admin:accounts_user_change", args=[people[0].user_id])
    return reverse("admin:accounts_user_changelist")
