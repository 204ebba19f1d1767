"""Requests of data subjects as a list, by their deadline, and a page with the steps of each."""

from __future__ import annotations

from datetime import date
from functools import partial, update_wrapper
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from findme.core.admin.links import Related, labeled
from findme.core.admin.model_admin import UuidSearchAdmin
from privacy.admin.request_pages import record_page, step_page
from privacy.admin.request_steps import HANDLE, links
from privacy.local_dates import today
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import CLOSED, State
from privacy.requests.deadlines import SOON
from privacy.requests.erasure_summary import summarize_erasure
from privacy.requests.officer_tasks import officers_task
from privacy.requests.summary import late, open_requests

DUE_COLORS = {"late": "danger", "soon": "warning", "paused": "info", "due": "success"}
STATE_COLORS = {"answered": "success", "refused": "warning", "approved": "info"}


def due_state(row: DataSubjectRequest, day: date) -> str:
    """Return the key of ``DUE_COLORS`` for the row, or ``closed``."""
    if row.is_late(day):
        return "late"
    if row.state in CLOSED:
        return "closed"
    if row.is_paused:
        return "paused"
    return "soon" if row.due_on <= day + SOON else "due"


class DeadlineFilter(admin.SimpleListFilter):
    """Filter with fixed choices, which need no query."""

    title = "deadline"
    parameter_name = "deadline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("late", "Late"), ("soon", "Due within 7 days"), ("paused", "Paused"), ("closed", "Closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DataSubjectRequest]) -> QuerySet[DataSubjectRequest]:
        day = today()
        conditions = {
            "open": open_requests(),
            "late": late(day),
            "soon": open_requests() & Q(due_on__range=(day, day + SOON)) & ~Q(state=State.IDENTITY_ASKED),
            "paused": Q(state=State.IDENTITY_ASKED),
            "closed": ~open_requests(),
        }
        return queryset.filter(conditions.get(str(self.value()), Q()))


@admin.register(DataSubjectRequest)
class DataSubjectRequestAdmin(UuidSearchAdmin[DataSubjectRequest]):
    """Read-only list and pages. A request changes only by its steps, each on a page of its own."""

    declared_permissions = ("view",)
    list_display = ("shown_due", "kind", "shown_state", "received_on", "data_subject")
    list_filter = (DeadlineFilter, "state", "kind")
    sortable_by = ()
    ordering = ("-closed_on", "due_on")  # open requests first: NULL sorts before other values
    search_help_text = "UUID of the request or of the user"
    uuid_lookups = ("pk", "user_id")
    list_before_template = "admin/privacy/record_link.html"
    change_form_before_template = "admin/privacy/step_links.html"
    related = (Related("Audit log", "privacy.AuditEntry", ("request_id",)),)

    @labeled("Due", DUE_COLORS)
    def shown_due(self, row: DataSubjectRequest) -> tuple[str, str]:
        state = due_state(row, today())
        return state, f"{row.due_on}{'' if state in ('due', 'closed') else f' ({state})'}"

    @labeled("State", STATE_COLORS)
    def shown_state(self, row: DataSubjectRequest) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description="User")
    def data_subject(self, row: DataSubjectRequest) -> str:
        return str(row.user_id or "no user")

    @admin.display(description="Recorded by")
    def recorder(self, row: DataSubjectRequest) -> str:
        return _actor(row.recorded_by_id, row.recorded_by_account)

    @admin.display(description="Confirmed by")
    def confirmer(self, row: DataSubjectRequest) -> str:
        return _actor(row.identity_confirmed_by_id, row.identity_confirmed_by_account)

    @admin.display(description="Approved by")
    def approver(self, row: DataSubjectRequest) -> str:
        return _actor(row.approved_by_id, row.approved_by_account)

    @admin.display(description="Recipients")
    def recipients_informed(self, row: DataSubjectRequest) -> str:
        rows = row.recipients.order_by("recipient")
        found = [f"{one.recipient}: {one.informed_on or one.get_not_informed_reason_display() or 'not informed yet'}" for one in rows]
        return "; ".join(found) or "-"

    @admin.display(description="To do")
    def task(self, row: DataSubjectRequest) -> str:
        return officers_task(row) if row.state == State.APPROVED else "-"

    @admin.display(description="Erasure")
    def erasure_steps(self, row: DataSubjectRequest) -> str:
        found = summarize_erasure(row)
        if found is None:
            return "-"
        return f"{found.state}{f' ({found.stop_reason})' if found.stop_reason else ''}; " + "; ".join(map(str, found.steps))

    def get_fieldsets(self, request: HttpRequest, obj: DataSubjectRequest | None = None) -> Any:
        """Show the contact address only to staff who handle requests."""
        contact = ("contact",) if request.user.has_perm(HANDLE) else ()
        return (
            (None, {"fields": ("id", "kind", "processing", "state", "due_on", "first_due_on", "task")}),
            ("Receipt", {"fields": ("received_on", "user_id", *contact, "recorded_at", "recorder")}),
            ("Identity", {"fields": ("identity_asked_on", "identity_confirmed_on", "identity_method", "confirmer")}),
            ("Extension", {"fields": ("extension_informed_on", "extension_reason")}),
            ("Decision", {"fields": ("approved_at", "approver", "refusal_ground", "informed_of_remedies", "withdrawal_reason")}),
            ("End", {"fields": ("stopped_on", "erasure_steps", "closed_on", "recipients_informed")}),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        record = update_wrapper(partial(record_page, model_admin=self), record_page)
        step = update_wrapper(partial(step_page, model_admin=self), step_page)
        return [
            path("record/", self.admin_site.admin_view(record), name="privacy_datasubjectrequest_record"),
            path("<uuid:request_id>/step/<slug:slug>/", self.admin_site.admin_view(step), name="privacy_datasubjectrequest_step"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        record_url = reverse("admin:privacy_datasubjectrequest_record") if request.user.has_perm(HANDLE) else None
        return super().changelist_view(request, {"record_url": record_url, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> HttpResponse:
        row = context.get("original")
        if row is not None:
            context["step_links"] = list(links(request, row))
        return super().render_change_form(request, context, *args, **kwargs)


def _actor(user_id: UUID | None, account: str) -> str:
    if user_id is not None:
        return str(user_id)
    return f"{account} (command)" if account else "-"
