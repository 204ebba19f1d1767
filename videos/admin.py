"""Videos in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.safestring import SafeString

from accounts.models import User
from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.admin.links import labeled, link_to
from findme.core.admin.model_admin import SYSTEM, UuidSearchAdmin
from videos.models import Video

COLORS = {"uploading": "info", "processing": "info", "verifying": "info", "verified": "success", "rejected": "danger", "error": "danger"}
SYSTEM_FIELDS = ("id", "metadata", "created_at", "updated_at", "deleted_at")
USER_REMOVED = "This user was deleted or anonymized: their videos can be neither added nor changed."


USER_RESTRICTED = "This user is restricted: their videos can be added and changed only for their own approved request for a rectification."


def _require_changeable(user: User) -> None:
    if user.deleted_at is not None:
        raise ValidationError(USER_REMOVED)
    if user.is_unchangeable:
        raise ValidationError(USER_RESTRICTED)


class VideoForm(DatabaseErrorForm):
    """Form for a video whose user is not deleted, anonymized or restricted."""

    def clean_user(self) -> User:
        """Reject a removed or restricted user. Only the form for a new video has this field."""
        user: User = self.cleaned_data["user"]
        _require_changeable(user)
        return user

    def clean(self) -> dict[str, Any] | None:
        if "user" not in self.fields:
            _require_changeable(self.instance.user)
        return super().clean()


@admin.register(Video)
class VideoAdmin(UuidSearchAdmin[Video]):
    """The system sets the user, the measures and the score. Staff set the status and the reason for a rejection."""

    form = VideoForm
    list_display = ("id", "person", "shown_status", "duration", "verification_score", "created_at")
    person_columns = {"person": "user_id"}
    list_select_related = ("user",)
    list_filter = ("status",)
    sortable_by = ("created_at",)
    search_help_text = "UUID of a video or its user"
    uuid_lookups = ("pk", "user")
    raw_id_fields = ("user",)
    fixed_fields = ("user", "duration", "file_size", "verification_score")
    readonly_fields = SYSTEM_FIELDS
    fieldsets = (
        (None, {"fields": ("user", "storage_url", "thumbnail_url", "duration", "file_size")}),
        ("Verification", {"fields": ("status", "rejection_reason", "verification_score")}),
        (SYSTEM, {"fields": SYSTEM_FIELDS}),
    )

    @admin.display(description="User")
    def person(self, video: Video) -> SafeString:
        return link_to(User, video.user_id, video.user.full_name)

    @labeled("Status", COLORS)
    def shown_status(self, video: Video) -> tuple[str, str]:
        return video.status, video.get_status_display()
