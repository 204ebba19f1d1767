"""The videos in the admin."""

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
PERSON_LEFT = "This person was deleted or anonymized: nothing is written about them any more."


class VideoForm(DatabaseErrorForm):
    """A video of somebody who is there."""

    def clean_user(self) -> User:
        """When it is made; afterwards the person is not asked for."""
        person: User = self.cleaned_data["user"]
        if person.deleted_at is not None:
            raise ValidationError(PERSON_LEFT)
        return person

    def clean(self) -> dict[str, Any] | None:
        if "user" not in self.fields and self.instance.user.deleted_at is not None:
            raise ValidationError(PERSON_LEFT)
        return super().clean()


@admin.register(Video)
class VideoAdmin(UuidSearchAdmin[Video]):
    """Whose it is, its measures and its score come from the system; staff decide on the status, and say why."""

    form = VideoForm
    list_display = ("id", "person", "shown_status", "duration", "verification_score", "created_at")
    person_columns = {"person": "user_id"}
    list_select_related = ("user",)
    list_filter = ("status",)
    sortable_by = ("created_at",)
    search_help_text = "UUID of a video or its person"
    uuid_lookups = ("pk", "user")
    raw_id_fields = ("user",)
    fixed_fields = ("user", "duration", "file_size", "verification_score")
    readonly_fields = SYSTEM_FIELDS
    fieldsets = (
        (None, {"fields": ("user", "storage_url", "thumbnail_url", "duration", "file_size")}),
        ("Verification", {"fields": ("status", "rejection_reason", "verification_score")}),
        (SYSTEM, {"fields": SYSTEM_FIELDS}),
    )

    @admin.display(description="Person")
    def person(self, video: Video) -> SafeString:
        return link_to(User, video.user_id, video.user.full_name)

    @labeled("Status", COLORS)
    def shown_status(self, video: Video) -> tuple[str, str]:
        return video.status, video.get_status_display()
