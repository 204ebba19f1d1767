"""What ``import_embeddings`` remembers about the collections that it has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Value

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.restored import KEPT

if TYPE_CHECKING:
    from accounts.models import User


class VectorImport(models.Model):
    """One vector of a collection, and how far the last run of ``import_embeddings`` has read it.

    ``place`` is the URL of the server, or the folder of an embedded store. ``last_point`` is the id of the last point that was read, empty at
    the beginning and after the end. It is committed with the rows of its page, like ``counts``, and ``rejects``: the path, size in bytes and SHA-256 of
    the rejects file. ``options`` are those of the run. A run with other options begins at the first point.
    """

    not_copied: ClassVar[str] = "it says how far the rows of one database were imported"
    after_restore: ClassVar[str] = "imports"

    id = models.BigAutoField(primary_key=True)
    place = models.TextField()
    collection = models.CharField(max_length=255)
    vector = models.CharField(max_length=255, default="", db_default="", blank=True)
    last_point = models.TextField(default="", db_default="", blank=True)
    counts: models.JSONField[Any, Any] = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    options: models.JSONField[Any, Any] = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    rejects: models.JSONField[Any, Any] = models.JSONField(null=True)
    started_at = models.DateTimeField(db_default=TransactionNow())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "vector_imports"
        constraints = [
            models.UniqueConstraint(fields=["place", "collection", "vector"], name="vector_imports_key"),
            *supported_dates("vector_imports", "started_at", "finished_at"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def forget(cls, user_id: UUID) -> None:
        """Delete the user's id from the imports. An unfinished one that has just read this point begins again at its first point."""
        cls.objects.filter(last_point=str(user_id)).update(last_point="")


class ImportDigest(models.Model):
    """Digests of a user's point and row when both were last equal. They show which of the two has changed since.

    ``import_id`` is the id of the ``VectorImport``. It is no foreign key, because an index would double the size of the table. ``point`` and
    ``stored`` are hashes of 64 bits over the vector and the imported fields.
    """

    not_copied: ClassVar[str] = "it compares the rows of one database with the points of one collection"
    after_restore: ClassVar[str] = KEPT

    user: models.OneToOneField[User, User] = foreign_key(settings.AUTH_USER_MODEL, related_name="import_digest", primary_key=True)
    import_id = models.BigIntegerField()
    point = models.BigIntegerField()
    stored = models.BigIntegerField()

    class Meta:
        db_table = "vector_import_digests"
        constraints = [
            ForeignKeyConstraint(columns=["user_id"], to_table="users", on_delete="CASCADE", name="vector_import_digests_user_id_fkey"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
