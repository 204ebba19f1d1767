"""Users in the admin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.hashers import identify_hasher
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm

from accounts.admin.forms import SUPERUSER_RIGHTS, NewUserForm, UserForm
from accounts.admin.state import LABELS, StateFilter, state_of
from accounts.models import User
from accounts.signals import users_changed
from findme.core.admin.links import Related, labeled
from findme.core.admin.model_admin import SYSTEM, FindmeModelAdmin
from findme.core.errors import UserFacingError, one_line
from privacy.admin.mixin import PrivacyActions
from privacy.admin.permissions import denial_reason

if TYPE_CHECKING:
    _DjangoUserAdmin = DjangoUserAdmin[User]
else:
    _DjangoUserAdmin = DjangoUserAdmin

PROFILE = (None, {"fields": ("email", "full_name", "date_of_birth", "gender", "bio", "video", "verified", "active")})
STAFF = ("Staff", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")})
SYSTEM_FIELDS = (
    "id",
    "state",
    "password_state",
    "created_at",
    "updated_at",
    "deleted_at",
    "restricted_at",
    "objected_at",
    "unconfirmed_at",
    "last_login",
)
SYSTEM_SECTION = (SYSTEM, {"fields": SYSTEM_FIELDS})


@admin.register(User)
class UserAdmin(PrivacyActions, _DjangoUserAdmin, FindmeModelAdmin[User]):
    """Staff with the permission change members, only superusers change staff. Deleted or anonymized users cannot be changed.

    Restricted users can be changed only while a request of theirs for a rectification is approved (article 18 (2)).
    """

    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    add_fieldsets = (
        (None, {"fields": ("email", "full_name", "date_of_birth", "gender", "bio", "verified", "active")}),
        ("Password", {"fields": ("usable_password", "password1", "password2")}),
    )
    list_display = ("full_name", "email", "state", "verified", "is_staff", "created_at")
    list_filter = (StateFilter, "verified", "gender", "is_staff")
    sortable_by = ("email", "created_at")
    search_fields = ("full_name", "email")
    search_help_text = "Name, e-mail address or UUID"
    ordering = ("-created_at",)
    raw_id_fields = ("video",)
    readonly_fields = SYSTEM_FIELDS
    filter_horizontal = ()
    change_form_before_template = "admin/accounts/user/links.html"
    related = (
        Related("Videos", "videos.Video", ("user",)),
        Related("Matches", "matching.Match", ("user", "matched_user")),
        Related("Calls", "calls.VideoCall", ("caller", "callee")),
        Related("Embedding", "vectorstore.ProfileEmbedding", ("user",)),
        Related("Requests", "privacy.DataSubjectRequest", ("user_id",)),
        Related("Holds", "privacy.Hold", ("user_id",)),
        Related("Audit log", "privacy.AuditEntry", ("target_id", "actor_id")),
    )

    @labeled("State", LABELS)
    def state(self, user: User) -> str:
        return state_of(user)

    @admin.display(description="Password")
    def password_state(self, user: User) -> str:
        """Return whether the user has a password, without any part of the hash."""
        try:
            identify_hasher(user.password)
        except ValueError:
            return "None: this user cannot log in."
        return "Set."

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and obj.is_unchangeable:
            return False
        if obj is not None and (obj.deleted_at is not None or denial_reason(request.user, obj, removes=False)):
            return False
        return super().has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        return (PROFILE, STAFF, SYSTEM_SECTION) if request.user.is_superuser else (PROFILE, SYSTEM_SECTION)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        own = SUPERUSER_RIGHTS if obj is not None and obj.pk == request.user.pk else ()
        return (*super().get_readonly_fields(request, obj), *own)

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> type[Any]:
        form: type[Any] = super().get_form(request, obj, change=change, **kwargs)
        form.actor_id = request.user.pk
        return form

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and form.changed_data:
            transaction.on_commit(partial(_notify_receivers, request, obj))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002  # Django's name
        """Change a password in one transaction, which keeps the user's row locked until the save."""
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


def _notify_receivers(request: HttpRequest, user: User) -> None:
    """Send ``users_changed`` after the commit, and show a warning if a receiver fails. The change stays saved."""
    for _receiver, answer in users_changed.send_robust(sender=User, user_ids=[user.pk]):
        if isinstance(answer, Exception):
            reason = one_line(answer) if isinstance(answer, UserFacingError) else "The server's log has the error."
            messages.warning(
                request, f"Saved, but the search index is not up to date. {reason} To update it, run: manage.py sync_qdrant --once"
            )
