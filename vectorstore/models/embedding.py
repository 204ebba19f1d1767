"""The embeddings of users (table ``profile_embeddings``), from which Qdrant's points are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q, Value

from accounts.models import HIDING_COLUMNS
from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import HasLength, HasOnlyTexts, IsFinite, IsGeoPoint, IsNotZero
from findme.core.db.fields import RealField
from findme.core.db.restored import KEPT
from findme.core.models import StoredModel
from findme.core.values.json_fields import ExactJSONField
from vectorstore.models.interests import distinct
from vectorstore.models.limits import LONGEST_INTEREST, MOST_INTERESTS, MOST_VIDEO_FEATURES, size_checks

if TYPE_CHECKING:
    from accounts.models import User

VECTOR_SIZE = 512
"""Numbers in a profile's vector."""

PROJECTABLE_USER = " AND ".join([*(f"users.{column} IS NULL" for column in HIDING_COLUMNS), "NOT users.is_staff"])
"""SQL condition for the users who have a point if they have an embedding. ``projectable`` is the same condition for the ORM."""


class ProfileEmbeddingQuerySet(models.QuerySet["ProfileEmbedding"]):
    def projectable(self) -> Self:
        """Return the embeddings of users who must have a point (``PROJECTABLE_USER``)."""
        return self.filter(user__is_staff=False, **{f"user__{column}__isnull": True for column in HIDING_COLUMNS})


class ProfileEmbedding(StoredModel):
    """A user's vector (512 finite numbers, not all 0) and the data that only the vector store uses as search criteria.

    ``location`` is ``{"lat": degrees, "lon": degrees}``. ``model`` names the embedding model. ``save`` normalizes ``interests``
    (``vectorstore.models.interests``). Plain SQL and ``bulk_create`` do not: then only the point has the normalized texts.
    """

    after_restore: ClassVar[str] = KEPT

    written_by_database = frozenset({"updated_at"})

    user: models.OneToOneField[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="embedding", primary_key=True)
    vector: ArrayField[list[float], list[float]] = ArrayField(RealField())
    location: models.JSONField[Any, Any] = ExactJSONField(null=True, blank=True)
    interests: ArrayField[list[str], list[str]] = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        db_default=Value([], output_field=ArrayField(models.TextField())),
        help_text=f"At most {MOST_INTERESTS} texts, each with at most {LONGEST_INTEREST} characters.",
    )
    video_features: ArrayField[list[float] | None, list[float] | None] = ArrayField(
        RealField(), null=True, blank=True, help_text=f"At most {MOST_VIDEO_FEATURES:,} finite numbers."
    )
    model = models.CharField(max_length=255, default="", blank=True, db_default="")
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects: ProfileEmbeddingQuerySet = ProfileEmbeddingQuerySet.as_manager()  # type: ignore[assignment]  # a manager made by a call

    class Meta:
        db_table = "profile_embeddings"
        constraints = [
            models.CheckConstraint(
                condition=HasLength("vector", length=512),
                name="profile_embeddings_vector_length_check",
                violation_error_message="A vector has 512 numbers.",
            ),
            models.CheckConstraint(
                condition=IsFinite("vector"),
                name="profile_embeddings_vector_finite_check",
                violation_error_message="A vector's numbers are finite.",
            ),
            models.CheckConstraint(
                condition=IsNotZero("vector"),
                name="profile_embeddings_vector_nonzero_check",
                violation_error_message="A vector of zeros has no direction.",
            ),
            models.CheckConstraint(
                condition=IsGeoPoint("location"),
                name="profile_embeddings_location_check",
                violation_error_message="A location is an object of lat (-90 to 90) and lon (-180 to 180).",
            ),
            models.CheckConstraint(
                condition=HasOnlyTexts("interests"),
                name="profile_embeddings_interests_check",
                violation_error_message="An interest must not be empty.",
            ),
            models.CheckConstraint(
                condition=IsFinite("video_features"),
                name="profile_embeddings_video_features_check",
                violation_error_message="Video features are finite numbers.",
            ),
            models.CheckConstraint(
                # On the sync queue this id stands for all users.
                condition=~Q(user=UUID(int=0)),
                name="profile_embeddings_user_id_check",
                violation_error_message="The UUID of zeros is not a user's id.",
            ),
            *size_checks(),
            *supported_dates("profile_embeddings", "created_at", "updated_at"),
            ForeignKeyConstraint(columns=["user_id"], to_table="users", on_delete="CASCADE", name="profile_embeddings_user_id_fkey"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def save(
        self,
        *,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        self._normalize_interests()
        super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)

    def clean(self) -> None:
        super().clean()
        self._normalize_interests()

    def _normalize_interests(self) -> None:
        """Normalize a list of texts. The constraints reject other values and empty texts."""
        # __dict__ does not load a deferred field from the database.
        interests = self.__dict__.get("interests")
        if isinstance(interests, list | tuple) and all(isinstance(interest, str) for interest in interests):
            self.interests = distinct(interests)
