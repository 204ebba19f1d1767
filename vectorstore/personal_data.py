"""Personal data of the vector store: the table ``profile_embeddings``, the sync queue, imports, and the point in Qdrant.

Modules that use qdrant-client are imported inside the functions. The client takes most of a second to import, and every command imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from privacy.registry import Disposition, Effect, PersonalDataOwner, Protection, Store, columns_of, registry
from vectorstore.models import ImportDigest, ProfileEmbedding, QuarantinedUser, QueueEntry, StoreState, VectorImport


class Embeddings(PersonalDataOwner):
    """Owner of the embeddings.

    The vector describes a face and a voice, and the location tells where the user is. So an anonymization deletes the whole row.
    """

    section = "vector_store"
    fields = {
        "vectorstore.ProfileEmbedding": frozenset(
            {"user", "vector", "location", "interests", "video_features", "model", "created_at", "updated_at"}
        )
    }

    protection = {"vectorstore.ProfileEmbedding": Protection(users=("user",), protected={})}

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the row and the point, each None if it does not exist. Raises StoreUnavailable.

        Qdrant stores the vector normalized to length 1.
        """
        from vectorstore.sync.inline import point_of

        embedding = ProfileEmbedding.objects.filter(pk=user_id).values(*columns_of(ProfileEmbedding)).first()
        return {"embedding": embedding, "point": point_of(user_id)}

    def anonymize(self, user_id: UUID) -> None:
        ProfileEmbedding.objects.filter(pk=user_id).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [Effect("embeddings", ProfileEmbedding.objects.filter(pk=user_id).count(), Disposition.DELETED)]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)


class Syncing(PersonalDataOwner):
    """Owner of the sync tables.

    A queue entry can outlive its user, until Qdrant has confirmed the deletion of the point. The row of a quarantined user is deleted with the user.
    """

    section = "vector_sync"
    fields = {
        "vectorstore.QueueEntry": frozenset({"id", "user_id", "urgent", "queued_at", "not_before", "awaits_ack", "cause"}),
        "vectorstore.SyncLease": frozenset({"user_id", "worker_id", "expires_at"}),
        "vectorstore.QuarantinedUser": frozenset({"user_id", "reason", "collection", "quarantined_at"}),
        # No personal data. These tables are listed because every field of the project needs an owner.
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
                "saved_settings",
                "downloads",
                "skipped_versions",
                "comparison_due_at",
            }
        ),
        "vectorstore.Verification": frozenset({"id", "alias", "started_at", "finished_at", "result"}),
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the queued changes of the user, and the reason of their quarantine, if any."""
        return {
            "queued": list(QueueEntry.objects.filter(user_id=user_id).order_by("pk").values("queued_at", "urgent")),
            "quarantined": QuarantinedUser.objects.filter(pk=user_id).values("reason", "collection", "quarantined_at").first(),
        }

    def anonymize(self, user_id: UUID) -> None:
        QuarantinedUser.objects.filter(pk=user_id).delete()

    def erase(self, user_id: UUID) -> None:
        self.anonymize(user_id)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return no effect: these rows are bookkeeping, and workers delete them."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


class Imports(PersonalDataOwner):
    """Owner of what ``import_embeddings`` remembers. A digest shows whether a given vector is that of the user."""

    section = "vector_import"
    fields = {
        "vectorstore.ImportDigest": frozenset({"user", "import_id", "point", "stored"}),
        # The last point that was read is the id of a user.
        "vectorstore.VectorImport": frozenset(
            {"id", "place", "collection", "vector", "last_point", "counts", "options", "rejects", "started_at", "finished_at"}
        ),
    }

    protection = {"vectorstore.ImportDigest": Protection(users=("user",), protected={})}

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the digests, None if no point of the user was imported."""
        return {"digest": ImportDigest.objects.filter(pk=user_id).values(*columns_of(ImportDigest)).first()}

    def anonymize(self, user_id: UUID) -> None:
        ImportDigest.objects.filter(pk=user_id).delete()
        VectorImport.forget(user_id)

    def erase(self, user_id: UUID) -> None:
        VectorImport.forget(user_id)

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return no effect: the digests are bookkeeping."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


class VectorStore(Store):
    """The user's point in Qdrant.

    The transaction that removes the point must also delete or hide the rows that it is projected from.
    """

    name = "vector store"

    @contextmanager
    def session(self) -> Iterator[None]:
        from vectorstore.catalog.alias import live_collection
        from vectorstore.qdrant.connection import qdrant

        with qdrant() as client:
            live_collection(client)
            yield

    def holds(self, user_id: UUID) -> bool:
        from vectorstore.sync.inline import point_of

        return point_of(user_id) is not None

    def remove(self, user_id: UUID) -> bool:
        """Delete the point, then remove the user from the sentinels. Return whether there was a point.

        The deletion takes long. Meanwhile a worker may write a checkpoint with this user as a sentinel. So ``remove_sentinel`` runs after it.
        """
        from vectorstore.sync.inline import remove_point

        removed = remove_point(user_id)
        StoreState.remove_sentinel(user_id)
        return removed


registry.register(Embeddings())
registry.register(Syncing())
registry.register(Imports())
registry.register_store(VectorStore())
