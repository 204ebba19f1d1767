"""Read-only admin of the embeddings. ``upsert_embeddings`` writes them, and the privacy actions delete them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.models import User
from findme.core.admin.links import link_to
from findme.core.admin.model_admin import UuidSearchAdmin
from vectorstore.models import VECTOR_SIZE, ProfileEmbedding

SHOWN_NUMBERS = 8
"""How many numbers of a vector are shown. They are enough to distinguish two vectors."""


@admin.register(ProfileEmbedding)
class ProfileEmbeddingAdmin(UuidSearchAdmin[ProfileEmbedding]):
    declared_permissions = ("view",)
    list_display = ("identifier", "person", "model", "place", "shown_interests", "updated_at")
    person_columns = {"person": None}
    list_select_related = ("user",)
    list_display_links = ("identifier",)
    sortable_by = ()
    ordering = ("pk",)
    search_help_text = "UUID of a user"
    fields = ("user", "model", "place", "shown_interests", "first_numbers", "created_at", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProfileEmbedding]:
        return super().get_queryset(request).defer("vector", "video_features")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Id")
    def identifier(self, embedding: ProfileEmbedding) -> str:
        return str(embedding.pk)

    @admin.display(description="Person")
    def person(self, embedding: ProfileEmbedding) -> SafeString:
        return link_to(User, embedding.pk, embedding.user.full_name)

    @admin.display(description="Location")
    def place(self, embedding: ProfileEmbedding) -> str | None:
        """Latitude and longitude in degrees."""
        return f"{embedding.location['lat']:.4f}, {embedding.location['lon']:.4f}" if embedding.location else None

    @admin.display(description="Interests")
    def shown_interests(self, embedding: ProfileEmbedding) -> str:
        return ", ".join(embedding.interests)

    @admin.display(description="Vector")
    def first_numbers(self, embedding: ProfileEmbedding) -> str:
        return f"{', '.join(f'{number:.4f}' for number in embedding.vector[:SHOWN_NUMBERS])} … ({VECTOR_SIZE} numbers)"
