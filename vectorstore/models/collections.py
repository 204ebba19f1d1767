"""What PostgreSQL knows about the Qdrant collections: registry, checkpoint, verifications."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Self
from uuid import UUID

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import connection, models, transaction
from django.db.models import Q, Value

from findme.core.db.dates import supported_dates

COPY_SUFFIX = "_before_adoption"
"""End of the name of a copy that is retained when a collection is adopted. Other collections end with their number."""


class VectorCollectionQuerySet(models.QuerySet["VectorCollection"]):
    def of(self, alias: str) -> Self:
        return self.filter(alias=alias)

    def write_targets(self) -> Self:
        """Return the collections that receive every write.

        A building collection is compared with PostgreSQL later, and a retained one may become live again.
        """
        return self.exclude(state=VectorCollection.State.FAILED).exclude(name__endswith=COPY_SUFFIX)


class VectorCollection(models.Model):
    """A real collection, stored with the alias that points to it, will point to it, or did.

    A collection is ``ready`` once it has passed its acceptance check, just before the alias moves to it. The live collection gets its
    ``retain_until`` at the same time, because the process that moves the alias may be killed before it can record the move.
    """

    class State(models.TextChoices):
        BUILDING = "building", "Building"
        READY = "ready", "Ready"
        LIVE = "live", "Live"
        RETAINED = "retained", "Retained"
        FAILED = "failed", "Failed"

    not_copied: ClassVar[str] = "it names the collections that one database owns, and two databases must not own one collection"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = "collections"

    name = models.CharField(primary_key=True, max_length=255)
    alias = models.CharField(max_length=255)
    state = models.CharField(max_length=20, choices=State.choices)
    definition_hash = models.CharField(max_length=64, help_text="SHA-256 of its definition")
    app_version = models.CharField(max_length=50, help_text="The version of FindMe that defined it")
    defined_at = models.DateTimeField(db_default=TransactionNow())
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    live_since = models.DateTimeField(null=True)
    retain_until = models.DateTimeField(null=True)
    failure_reason = models.TextField(default="", db_default="")

    objects: VectorCollectionQuerySet = VectorCollectionQuerySet.as_manager()  # type: ignore[assignment]  # a manager made by a call

    class Meta:
        db_table = "vector_collections"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["building", "ready", "live", "retained", "failed"]), name="vector_collections_state_check"
            ),
            models.UniqueConstraint(fields=["alias"], condition=Q(state="live"), name="vector_collections_live_key"),
            *supported_dates("vector_collections", "defined_at", "created_at", "live_since", "retain_until"),
        ]

    def __str__(self) -> str:
        return self.name


class StoreState(models.Model):
    """The single row with this database's state of the vector store.

    ``database_id`` marks the collections that belong to this database. ``checkpoint`` was last written to the collections' metadata and shows a
    restored store. ``pending_checkpoint`` is one whose write is not confirmed yet. ``saved_settings`` holds, by collection, the
    settings to restore after a purge or an adoption. ``downloads`` are the folders of downloaded snapshots that must be deleted, with their hosts.

    On ``ages_refreshed_on`` all users whose age had changed were queued, in entries up to ``ages_last_entry_id``. While one of these entries
    remains, the ages of points are correct for ``ages_valid_on`` (None: the day is unknown).

    ``skipped_versions`` are ranges of versions that the sequence was set past, both ends included. This database never allocated them.

    ``comparison_due_at`` is the time of the last trigger repair, until a repair has compared the stores
    (``vectorstore.consistency.comparison_due``).
    """

    not_copied: ClassVar[str] = "it holds the id and the checkpoint of one database, and two databases must not own one collection"
    kept_by_flush: ClassVar[bool] = True
    after_restore: ClassVar[str] = "collections"
    filled_by_migrate: ClassVar[bool] = True
    """A rollback that drops the row loses nothing: another table holds the collections that carry the database's id."""

    id = models.SmallIntegerField(primary_key=True, default=1, db_default=Value(1))
    database_id = models.UUIDField(db_default=RandomUUID(), editable=False)
    checkpoint: models.JSONField[Any, Any] = models.JSONField(null=True)
    pending_checkpoint: models.JSONField[Any, Any] = models.JSONField(null=True)
    checkpoint_at = models.DateTimeField(null=True)
    ages_refreshed_on = models.DateField(null=True)
    ages_last_entry_id = models.BigIntegerField(null=True)
    ages_valid_on = models.DateField(null=True)
    saved_settings: models.JSONField[Any, Any] = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    downloads: models.JSONField[Any, Any] = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    skipped_versions: models.JSONField[Any, Any] = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    comparison_due_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "vector_store_state"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="vector_store_state_one_row_check"),
            *supported_dates("vector_store_state", "checkpoint_at", "ages_refreshed_on", "ages_valid_on", "comparison_due_at"),
        ]

    def __str__(self) -> str:
        return str(self.database_id)

    @classmethod
    def current(cls) -> StoreState:
        return cls.objects.get_or_create(pk=1)[0]

    @classmethod
    def locked(cls) -> StoreState:
        """Return the row and lock it until the transaction ends."""
        cls.current()
        return cls.objects.select_for_update().get(pk=1)

    @classmethod
    def remove_sentinels(cls, user_ids: Collection[UUID]) -> None:
        """Delete the users from the stored sentinel points.

        Wait for a transaction that is storing sentinel points, and block others until the caller's transaction ends. Call this last in a
        transaction. A process that stores sentinel points afterwards sees the changes of that transaction.
        """
        with transaction.atomic():
            state = cls.objects.select_for_update().filter(pk=1).first()
            if state is None:
                return
            checkpoints = [
                checkpoint for checkpoint in (state.checkpoint, state.pending_checkpoint) if checkpoint and "newest" in checkpoint
            ]
            ids, stored = set(map(str, user_ids)), str(checkpoints)
            if not any(user_id in stored for user_id in ids):
                return
            for checkpoint in checkpoints:
                checkpoint["newest"] = {
                    name: [(point_id, version) for point_id, version in sentinels if point_id not in ids]
                    for name, sentinels in checkpoint["newest"].items()
                }
            state.save(update_fields=["checkpoint", "pending_checkpoint"])

    @classmethod
    def remove_sentinels_of(cls, name: str) -> None:
        """Delete the sentinel points of a collection, because a later collection may get its name.

        Wait for a transaction that is storing sentinel points.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE vector_store_state
                SET checkpoint = checkpoint #- ARRAY['newest', %(name)s], pending_checkpoint = pending_checkpoint #- ARRAY['newest', %(name)s]
                """,
                {"name": name},
            )


class Verification(models.Model):
    """One run of ``verify_qdrant`` and its findings by kind."""

    not_copied: ClassVar[str] = "it is the history of one database and its collections"
    after_restore: ClassVar[str] = "collections"

    id = models.BigAutoField(primary_key=True)
    alias = models.CharField(max_length=255)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    result: models.JSONField[Any, Any] = models.JSONField()

    class Meta:
        db_table = "vector_verifications"
        constraints = [*supported_dates("vector_verifications", "started_at", "finished_at")]
        indexes = [models.Index(fields=["alias", "-finished_at"], name="vector_verifications_last_idx")]

    def __str__(self) -> str:
        return str(self.pk)
