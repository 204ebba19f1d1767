"""Personal data of videos: table ``videos``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib.postgres.functions import TransactionNow
from django.db.models import F
from django.db.models.functions import Coalesce

from privacy.declarations import Category, Disposition, Link, PersonalData, TableDeclaration
from privacy.file_stores.effects import file_effects
from privacy.json_schemas import Schema, array_of, row_of
from privacy.models.holds import Section, held_rows
from privacy.purposes import MATCHING, VERIFICATION
from privacy.registry import Effect, PersonalDataOwner, Protection, columns_of, registry
from videos.models import Video, VideoQuerySet

FILES = "video files"


class Videos(PersonalDataOwner):
    """Owns the videos: a video shows a face, and its metadata and rejection reason can hold any text."""

    section = "videos"
    erasure_steps = {FILES: "files"}
    tables = {
        "videos.Video": TableDeclaration(
            links=(Link("user"),),
            data=(
                PersonalData(
                    fields=("storage_url", "thumbnail_url"),
                    category=Category.MEDIA,
                    purpose=MATCHING,
                    recipients=("other users", "the operator of the file storage"),
                    anonymize=Disposition.CLEARED,
                    files="videos and thumbnails",
                ),
                PersonalData(
                    fields=("rejection_reason", "metadata"),
                    category=Category.MEDIA,
                    purpose=VERIFICATION,
                    anonymize=Disposition.CLEARED,
                ),
                PersonalData(
                    fields=("status", "verification_score"),
                    category=Category.MEDIA,
                    purpose=VERIFICATION,
                    anonymize=Disposition.KEPT,
                ),
                PersonalData(
                    fields=("id", "user", "duration", "file_size", "created_at", "updated_at", "deleted_at"),
                    category=Category.MEDIA,
                    purpose=MATCHING,
                    anonymize=Disposition.KEPT,
                ),
            ),
        )
    }

    protection = {
        "videos.Video": Protection(
            users=("user",),
            protected={"storage_url": "", "thumbnail_url": "", "rejection_reason": "", "metadata": "", "deleted_at": "!"},
            kept=frozenset({"id", "duration", "file_size", "status", "verification_score", "created_at", "updated_at"}),
        )
    }

    def export(self, user_id: UUID) -> Iterator[dict[str, Any]]:
        yield from _videos(user_id).order_by("created_at", "pk").values(*columns_of(Video)).iterator()

    def export_schema(self) -> Schema:
        return array_of(row_of(self.tables, "videos.Video"))

    def anonymize(self, user_id: UUID) -> None:
        """Clear what identifies the user and soft-delete the row. Statistics keep length, size, status and score.

        ``storage_url`` is NOT NULL, so it becomes the empty string, as ``password_hash`` does.
        A held video stays as it is.
        """
        _videos(user_id).exclude(held_rows(Section.VIDEOS, ("user",))).update(
            storage_url="",
            thumbnail_url=None,
            rejection_reason=None,
            metadata={},
            deleted_at=Coalesce(F("deleted_at"), TransactionNow()),
        )

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [
            Effect("videos (URLs, rejection reasons, metadata)", _videos(user_id).count(), Disposition.CLEARED),
            *file_effects(FILES, self.files(user_id)),
        ]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return [Effect("videos", _videos(user_id).count(), Disposition.DELETED), *file_effects(FILES, self.files(user_id))]


def _videos(user_id: UUID) -> VideoQuerySet:
    return Video.objects.filter(user_id=user_id)


registry.register(Videos())
