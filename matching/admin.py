"""Matches in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.safestring import SafeString

from accounts.admin.restriction import refuse_restricted
from accounts.models import User
from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.admin.links import Related, labeled, link_to
from findme.core.admin.model_admin import SYSTEM, UuidSearchAdmin
from matching.models import Match

COLORS = {"pending": "info", "accepted": "success", "rejected": "danger", "completed": "success", "expired": "warning"}
SYSTEM_FIELDS = ("id", "created_at", "updated_at", "deleted_at")


class MatchForm(DatabaseErrorForm):
    """Form for a match. Only the form for a new match has the two users. The match of a restricted user cannot be changed."""

    def clean_user(self) -> User:
        return _require_matched(self.cleaned_data["user"])

    def clean_matched_user(self) -> User:
        return _require_matched(self.cleaned_data["matched_user"])

    def clean(self) -> dict[str, Any] | None:
        if "user" not in self.fields:
            refuse_restricted(self.instance.user, self.instance.matched_user, rows="matches")
        return super().clean()


def _require_matched(user: User) -> User:
    if user.is_hidden:
        raise ValidationError("This user is deleted or restricted, or has objected: no match may have the user.")
    return user


@admin.register(Match)
class MatchAdmin(UuidSearchAdmin[Match]):
    """The users, the week and the score are fixed. Staff may correct the result."""

    form = MatchForm
    list_display = ("id", "person", "matched_person", "year", "week_number", "shown_status", "match_score", "created_at")
    person_columns = {"person": "user_id", "matched_person": "matched_user_id"}
    list_select_related = ("user", "matched_user")
    list_filter = ("status",)
    sortable_by = ("match_score",)
    ordering = ("-match_score",)  # the only order of the whole table with an index
    search_help_text = "UUID of a match or one of its users"
    uuid_lookups = ("pk", "user", "matched_user")
    raw_id_fields = ("user", "matched_user")
    fixed_fields = ("user", "matched_user", "year", "week_number", "match_score")
    readonly_fields = SYSTEM_FIELDS
    fieldsets = (
        (None, {"fields": ("user", "matched_user", "year", "week_number", "match_score")}),
        ("Result", {"fields": ("status", "user_action", "matched_user_action", "expires_at")}),
        (SYSTEM, {"fields": SYSTEM_FIELDS}),
    )
    related = (Related("Calls", "calls.VideoCall", ("match",)),)

    @admin.display(description="User")
    def person(self, match: Match) -> SafeString:
        return link_to(User, match.user_id, match.user.full_name)

    @admin.display(description="Matched with")
    def matched_person(self, match: Match) -> SafeString:
        return link_to(User, match.matched_user_id, match.matched_user.full_name)

    @labeled("Status", COLORS)
    def shown_status(self, match: Match) -> tuple[str, str]:
        return match.status, match.get_status_display()
