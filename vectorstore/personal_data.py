"""The personal data of the vector store: table ``profile_embeddings``, the queue to Qdrant, and the point in Qdrant that is projected from it.

What talks to Qdrant is imported where it is used: its client takes most of a second to import, and this module is part of every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from privacy.registry import Disposition, Effect, PersonalDataOwner, Protection, Store, columns_of, registry
from vectorstore.models import ProfileEmbedding, QuarantinedUser, QueueEntry, StoreState


class Embeddings(PersonalDataOwner):
    """The vector says what a face and a voice are like, the location where somebody is: nothing of the row outlives an anonymization."""

    section = "vector_store"
    fields = {
        "vectorstore.ProfileEmbedding": frozenset(
            {"user", "vector", "location", "interests", "video_features", "model", "created_at", "updated_at"}
        )
    }

    protection = {"vectorstore.ProfileEmbedding": Protection(users=("user",), protected={})}

    def export(self, user_id: UUID) -> dict[str, Any]:
        """The row, and the point as it is in Qdrant (its vector of length 1), each None where there is none. Raises StoreUnavailable."""
        from vectorstore.sync.removal import point_of

        embedding = ProfileEmbedding.objects.filter(pk=user_id).values(*columns_of(ProfileEmbedding)).first()
        return {"embedding": embedding, "point": point_of(user_id)}

    def anonymize(self, user_id: UUID) -> None:
        ProfileEmbedding.objects.filter(pk=user_id).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [Effect("embeddings", ProfileEmbedding.objects.filter(pk=user_id).count(), Disposition.DELETED)]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)


class Syncing(PersonalDataOwner):
    """That somebody's point is to be written, or could not be. The queue outlives the person for as long as it takes to tell Qdrant that they
    are gone; a quarantined user is not, once they are gone."""

    section = "vector_sync"
    fields = {
        "vectorstore.QueueEntry": frozenset({"id", "user_id", "urgent", "queued_at", "not_before", "awaits_ack", "cause"}),
        "vectorstore.SyncLease": frozenset({"user_id", "worker_id", "expires_at"}),
        "vectorstore.QuarantinedUser": frozenset({"user_id", "reason", "collection", "quarantined_at"}),
        # Nothing of anybody: they stand here since every field of this project stands with an owner.
        "vectorstore.SyncWorker": frozenset({"id", "host", "pid", "started_at", "heartbeat_at", "sleeping_until"}),
        "vectorstore.VectorCollection": frozenset(
            {
                "name",
                "alias",
                "state",
                "definition_hash",
                "app_version",
                "defined_at",
                "created_at",
                "live_since",
                "retain_until",
                "failure_reason",
            }
        ),
        "vectorstore.StoreState": frozenset(
            {
                "id",
                "database_id",
                "checkpoint",
                "pending_checkpoint",
                "checkpoint_at",
                "ages_refreshed_on",
                "ages_last_entry_id",
                "ages_valid_on",
                "saved_optimizer_settings",
                "skipped_versions",
                "comparison_due_at",
            }
        ),
        "vectorstore.Verification": frozenset({"id", "alias", "started_at", "finished_at", "result"}),
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """When changes were queued that the vector store does not have yet, and why it refuses the person, if it does."""
        return {
            "queued": list(QueueEntry.objects.filter(user_id=user_id).order_by("pk").values("queued_at", "urgent")),
            "quarantined": QuarantinedUser.objects.filter(pk=user_id).values("reason", "collection", "quarantined_at").first(),
        }

    def anonymize(self, user_id: UUID) -> None:
        QuarantinedUser.objects.filter(pk=user_id).delete()

    def erase(self, user_id: UUID) -> None:
        self.anonymize(user_id)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Nothing that a person has to be told of: bookkeeping, which goes by itself."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


class VectorStore(Store):
    """The person's point in Qdrant. What it is projected from must be gone, or hidden, in the transaction that removes it."""

    name = "vector store"

    @contextmanager
    def session(self) -> Iterator[None]:
        from vectorstore.catalog.alias import live_collection
        from vectorstore.qdrant.connection import qdrant

        with qdrant() as client:
            live_collection(client)
            yield

    def holds(self, user_id: UUID) -> bool:
        from vectorstore.sync.removal import point_of

        return point_of(user_id) is not None

    def remove(self, user_id: UUID) -> bool:
        """Workers write the checkpoint into the collections meanwhile, and remember of whom they hold the newest points: it takes long, and ``forget`` comes after it."""
        from vectorstore.sync.inline import remove_point

        removed = remove_point(user_id)
        StoreState.remove_sentinel(user_id)
        return removed


registry.register(Embeddings())
registry.register(Syncing())
registry.register_store(VectorStore())
