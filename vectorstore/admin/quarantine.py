"""Admin of quarantined users: the reasons, and an action to retry them. Also serves the status page of the vector store."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from accounts.models import User
from findme.core.admin.links import link_to
from findme.core.admin.model_admin import UuidSearchAdmin
from findme.core.plurals import counted
from vectorstore.admin.status_page import state_page
from vectorstore.models import QuarantinedUser
from vectorstore.queue.entries import retry


@admin.action(permissions=["retry_quarantined"], description="Try again")
def retry_selected(_model_admin: Any, request: HttpRequest, quarantined: QuerySet[QuarantinedUser]) -> None:
    queued = retry(list(quarantined.values_list("pk", flat=True)), actor_id=request.user.pk)
    messages.success(
        request, f"{counted(queued, 'user is', 'users are')} on the queue again. Users that Qdrant rejects again return to this list."
    )


@admin.register(QuarantinedUser)
class QuarantinedUserAdmin(UuidSearchAdmin[QuarantinedUser]):
    declared_permissions = ("view",)
    list_display = ("identifier", "person", "reason", "collection", "quarantined_at")
    person_columns = {"person": None}
    list_display_links = ("identifier",)
    sortable_by = ()
    ordering = ("pk",)
    search_help_text = "UUID of a user"
    fields = ("user_id", "reason", "collection", "quarantined_at")
    actions = (retry_selected,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_retry_quarantined_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("vectorstore.retry_quarantined"))

    def get_urls(self) -> list[URLPattern]:
        return [path("state/", self.admin_site.admin_view(self.state_view), name="vectorstore_quarantineduser_state"), *super().get_urls()]

    def state_view(self, request: HttpRequest) -> HttpResponse:
        return state_page(request, self)

    @admin.display(description="Id")
    def identifier(self, user: QuarantinedUser) -> str:
        return str(user.pk)

    @admin.display(description="Person")
    def person(self, user: QuarantinedUser) -> SafeString:
        return link_to(User, user.pk, "their page")
