"""Pages of the steps of a request: GET shows the form, POST runs the step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from findme.core.admin.links import change_page_url
from findme.core.errors import UserFacingError, one_line
from privacy.admin.request_forms import RecordForm, StepForm
from privacy.admin.request_steps import HANDLE, STEPS
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import Kind, Processing
from privacy.registry import Effect
from privacy.requests import steps
from privacy.requests.fulfilment import preview_of_approval
from privacy.requests.officer_tasks import officers_task

RECORD = "Record a request"
RECORD_EXPLANATION = "The deadline is computed from the day on which the request arrived."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def record_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> HttpResponse:
    """Record a request."""
    _require_permission(request, model_admin, HANDLE)
    form = RecordForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _render(request, model_admin, form, title=RECORD, explanation=RECORD_EXPLANATION)
    cleaned = form.cleaned_data
    try:
        row = steps.record(
            Kind(cleaned["kind"]),
            user_id=cleaned["user_id"],
            contact=cleaned["contact"] or None,
            processing=Processing(cleaned["processing"]) if cleaned["processing"] else None,
            received_on=cleaned["received_on"],
            actor_id=request.user.pk,
        )
    except UserFacingError as error:
        return _render(request, model_admin, form, title=RECORD, explanation=RECORD_EXPLANATION, problem=one_line(error))
    messages.success(request, f"Recorded. The answer is due on {row.due_on}.")
    return HttpResponseRedirect(change_page_url(DataSubjectRequest, row.pk))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def step_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any], request_id: UUID, slug: str) -> HttpResponse:
    """Show the form of a step, or run it."""
    step, row = STEPS.get(slug), DataSubjectRequest.objects.filter(pk=request_id).first()
    if step is None or row is None:
        raise Http404(f"There is no step {slug!r}, or no such request.")
    _require_permission(request, model_admin, step.permission)
    preview = preview_of_approval(row) if step.slug == "approve" and request.method != "POST" else []
    show = partial(
        _render, request, model_admin, title=step.title, explanation=step.explanation, row=row, closes=step.closes, preview=preview
    )
    if not step.is_possible(row):
        messages.error(
            request, f"{step.title} is not possible for a request that is {row.get_state_display().lower()!r}: nothing was changed."
        )
        return HttpResponseRedirect(change_page_url(DataSubjectRequest, row.pk))
    form = step.form(request.POST if request.method == "POST" else None, row=row)
    if not form.is_valid():
        return show(form)
    try:
        step.perform(row.pk, form.cleaned_data, request.user.pk)
    except UserFacingError as error:
        return show(form, problem=one_line(error))
    row.refresh_from_db()
    messages.success(request, f"{step.title}: done.")
    if step.slug == "approve":
        messages.info(request, officers_task(row))
    return HttpResponseRedirect(change_page_url(DataSubjectRequest, row.pk))


def _require_permission(request: HttpRequest, model_admin: admin.ModelAdmin[Any], permission: str) -> None:
    if not request.user.has_perm(permission) or not model_admin.has_view_permission(request):
        raise PermissionDenied


def _render(
    request: HttpRequest,
    model_admin: admin.ModelAdmin[Any],
    form: StepForm,
    *,
    title: str,
    explanation: str,
    row: DataSubjectRequest | None = None,
    closes: bool = False,
    problem: str = "",
    preview: Sequence[Effect] = (),
) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "original": None,
        "explanation": explanation,
        "row": row,
        "closes": closes,
        "problem": problem,
        "preview": preview,
        "form": form,
        "back": change_page_url(DataSubjectRequest, row.pk) if row else reverse("admin:privacy_datasubjectrequest_changelist"),
    }
    return TemplateResponse(request, "admin/privacy/step.html", context)
