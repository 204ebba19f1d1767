"""Privacy actions for the admin of users: actions in the list, links on a user's page, and the page behind both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path

from privacy.admin.actions import ACTIONS, ANONYMIZE, ERASE, EXPORT, RESTRICT, SOFT_DELETE, STOP_MATCHING, PrivacyAction
from privacy.admin.permissions import denial_reason
from privacy.admin.selection import MAX_USERS
from privacy.admin.view import may_do, page_url, privacy_page

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object


def _to_page(request: HttpRequest, action: PrivacyAction, users: QuerySet[Any]) -> HttpResponse | None:
    """Redirect to the page of the action for the selected users. The page asks for a confirmation."""
    user_ids = list(users.order_by().values_list("pk", flat=True)[: MAX_USERS + 1])
    if len(user_ids) > MAX_USERS:
        messages.error(request, f"{action.title}: at most {MAX_USERS} users at a time. Select fewer.")
        return None
    return HttpResponseRedirect(page_url(action, user_ids))


def _list_action(action: PrivacyAction) -> Callable[..., HttpResponse | None]:
    """Return the action in the list of users, which leads to the page of ``action``."""

    @admin.action(permissions=[action.permission], description=action.title)
    def selected(_model_admin: Any, request: HttpRequest, users: QuerySet[Any]) -> HttpResponse | None:
        return _to_page(request, action, users)

    selected.__name__ = f"{action.slug.replace('-', '_')}_selected"
    return selected


class PrivacyActions(_Base):
    """Mixin for the ModelAdmin of users."""

    actions = tuple(map(_list_action, ACTIONS.values()))

    def has_export_personal_data_permission(self, request: HttpRequest) -> bool:
        return may_do(request, EXPORT)

    def has_anonymize_user_permission(self, request: HttpRequest) -> bool:
        return may_do(request, ANONYMIZE)

    def has_soft_delete_user_permission(self, request: HttpRequest) -> bool:
        return may_do(request, SOFT_DELETE)

    def has_erase_user_permission(self, request: HttpRequest) -> bool:
        return may_do(request, ERASE)

    def has_restrict_user_permission(self, request: HttpRequest) -> bool:
        return may_do(request, RESTRICT)

    def has_stop_matching_user_permission(self, request: HttpRequest) -> bool:
        return may_do(request, STOP_MATCHING)

    def get_urls(self) -> list[URLPattern]:
        page = update_wrapper(partial(privacy_page, model_admin=self), privacy_page)
        return [path("privacy/<slug:slug>/", self.admin_site.admin_view(page), name="accounts_user_privacy"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> HttpResponse:
        user = context.get("original")
        if user is not None:
            context["privacy_links"] = [
                {"title": action.title, "url": page_url(action, [user.pk]), "is_final": action.is_final}
                for action in ACTIONS.values()
                if may_do(request, action) and action.applies(user) and denial_reason(request.user, user, removes=action.removes) is None
            ]
        return super().render_change_form(request, context, *args, **kwargs)
