"""Personal data of the vector store: the table ``profile_embeddings``, the sync queue, imports, and the point in Qdrant.

Modules that use qdrant-client are imported inside the functions. The client takes most of a second to import, and every command imports this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from findme.core.db.expressions import IsAmong
from findme.core.postgresql.arrays import uuid_array
from privacy.declarations import WITH_ACCOUNT, Category, Disposition, Export, Link, LinkKind, PersonalData, Retention, TableDeclaration
from privacy.json_schemas import NUMBER, Schema, array_of, object_of, or_null, row_of
from privacy.models.request_choices import Processing
from privacy.purposes import MATCHING
from privacy.registry import Effect, PersonalDataOwner, Protection, Store, columns_of, registry
from privacy.retention_rules import RowRule, of_restricted_users
from vectorstore.models import ImportDigest, ProfileEmbedding, QuarantinedUser, QueueEntry, StoreState, VectorImport

UNTIL_SYNCED = Retention("until the vector store has the change")
NOT_ABOUT_USER = "the values serve the software and say nothing about the user"


def _matched(*, fields: tuple[str, ...], category: Category) -> PersonalData:
    """Return the declaration of data for which matches are computed, in PostgreSQL and in Qdrant."""
    return PersonalData(
        fields=fields,
        category=category,
        purpose=MATCHING,
        recipients=("the operator of the vector store",),
        anonymize=Disposition.DELETED,
    )


def _technical(
    *,
    fields: tuple[str, ...],
    retention: Retention,
    anonymize: Disposition = Disposition.KEPT,
    erase: Disposition = Disposition.DELETED,
    reason: str = "",
) -> PersonalData:
    """Return the declaration of data that keep the two stores equal. With a ``reason``, an export leaves them out."""
    return PersonalData(
        fields=fields,
        category=Category.TECHNICAL,
        purpose=MATCHING,
        retention=retention,
        export=Export.NEVER if reason else Export.COMPLETE,
        reason=reason,
        anonymize=anonymize,
        erase=erase,
    )


class Embeddings(PersonalDataOwner):
    """Owner of the embeddings.

    The vector describes a face and a voice, and the location tells where the user is. So an anonymization deletes the whole row.
    """

    section = "vector_store"
    retention_rules = (
        RowRule(
            name="deactivated_embeddings",
            what="embeddings of deactivated users",
            since="the last change of the user",
            category=Category.LIKENESS,
            expired=lambda before: ProfileEmbedding.objects.filter(
                user__active=False, user__updated_at__lt=before, updated_at__lt=before
            ).exclude(of_restricted_users("user")),
        ),
    )
    tables = {
        "vectorstore.ProfileEmbedding": TableDeclaration(
            links=(Link("user"),),
            data=(
                _matched(fields=("vector", "video_features"), category=Category.LIKENESS),
                _matched(fields=("location",), category=Category.LOCATION),
                _matched(fields=("interests",), category=Category.PROFILE),
                PersonalData(
                    fields=("user", "model", "created_at", "updated_at"),
                    category=Category.TECHNICAL,
                    purpose=MATCHING,
                    anonymize=Disposition.DELETED,
                ),
            ),
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

    def export_schema(self) -> Schema:
        point = object_of({"payload": {"type": "object"}, "vector": or_null(array_of(NUMBER))})
        return object_of({"embedding": or_null(row_of(self.tables, "vectorstore.ProfileEmbedding")), "point": or_null(point)})

    def anonymize(self, user_id: UUID) -> None:
        ProfileEmbedding.objects.filter(pk=user_id).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return [Effect("embeddings", ProfileEmbedding.objects.filter(pk=user_id).count(), Disposition.DELETED)]

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return self.after_anonymization(user_id)

    def stop(self, user_id: UUID, processing: Processing) -> None:
        """Delete the row if the user objects to the embedding itself. An objection to searches and matches only hides it."""
        if processing == Processing.EMBEDDING:
            self.anonymize(user_id)

    def after_stop(self, user_id: UUID, processing: Processing) -> list[Effect]:
        return self.after_anonymization(user_id) if processing == Processing.EMBEDDING else self.after_soft_deletion(user_id)


class Syncing(PersonalDataOwner):
    """Owner of the sync tables.

    A queue entry can outlive its user, until Qdrant has confirmed the deletion of the point. The row of a quarantined user is deleted with the user.
    """

    section = "vector_sync"
    tables = {
        "vectorstore.QueueEntry": TableDeclaration(
            links=(Link("user_id", LinkKind.ID, erase=Disposition.KEPT),),
            data=(
                _technical(fields=("queued_at", "urgent"), retention=UNTIL_SYNCED),
                _technical(fields=("id", "user_id", "not_before", "awaits_ack", "cause"), retention=UNTIL_SYNCED, reason=NOT_ABOUT_USER),
            ),
        ),
        "vectorstore.SyncLease": TableDeclaration(
            links=(Link("user_id", LinkKind.ID, erase=Disposition.KEPT),),
            data=(_technical(fields=("user_id", "worker_id", "expires_at"), retention=UNTIL_SYNCED, reason=NOT_ABOUT_USER),),
        ),
        "vectorstore.QuarantinedUser": TableDeclaration(
            links=(Link("user_id", LinkKind.ID),),
            data=(
                _technical(fields=("reason", "collection", "quarantined_at"), retention=UNTIL_SYNCED, anonymize=Disposition.DELETED),
                _technical(fields=("user_id",), retention=UNTIL_SYNCED, anonymize=Disposition.DELETED, reason=NOT_ABOUT_USER),
            ),
        ),
        # The checkpoint holds the ids of the users with the newest points.
        "vectorstore.StoreState": TableDeclaration(
            links=(Link("checkpoint", LinkKind.CONTENT), Link("pending_checkpoint", LinkKind.CONTENT)),
            data=(
                _technical(
                    fields=("checkpoint", "pending_checkpoint"),
                    retention=Retention("until the next checkpoint"),
                    anonymize=Disposition.CLEARED,
                    erase=Disposition.CLEARED,
                    reason=NOT_ABOUT_USER,
                ),
                _technical(
                    fields=(
                        *("id", "database_id", "checkpoint_at", "ages_refreshed_on", "ages_last_entry_id", "ages_valid_on"),
                        *("saved_settings", "downloads", "skipped_versions", "comparison_due_at"),
                    ),
                    retention=Retention("as long as the database exists"),
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                    reason="these fields are about no user",
                ),
            ),
        ),
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the queued changes of the user, and the reason of their quarantine, if any."""
        return {
            "queued": list(QueueEntry.objects.filter(user_id=user_id).order_by("pk").values("queued_at", "urgent")),
            "quarantined": QuarantinedUser.objects.filter(pk=user_id).values("reason", "collection", "quarantined_at").first(),
        }

    def export_schema(self) -> Schema:
        queued, quarantined = (row_of(self.tables, f"vectorstore.{name}") for name in ("QueueEntry", "QuarantinedUser"))
        return object_of({"queued": array_of(queued), "quarantined": or_null(quarantined)})

    def anonymize(self, user_id: UUID) -> None:
        QuarantinedUser.objects.filter(pk=user_id).delete()

    def erase(self, user_id: UUID) -> None:
        self.anonymize(user_id)

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        QuarantinedUser.objects.filter(IsAmong("pk", uuid_array(user_ids))).delete()

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return no effect: these rows are bookkeeping, and workers delete them."""
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


class Imports(PersonalDataOwner):
    """Owner of what ``import_embeddings`` remembers. A digest shows whether a given vector is that of the user."""

    section = "vector_import"
    tables = {
        "vectorstore.ImportDigest": TableDeclaration(
            links=(Link("user"),),
            data=(_technical(fields=("user", "import_id", "point", "stored"), retention=WITH_ACCOUNT, anonymize=Disposition.DELETED),),
        ),
        # The last point that was read is the id of a user.
        "vectorstore.VectorImport": TableDeclaration(
            links=(Link("last_point", LinkKind.TEXT),),
            data=(
                _technical(
                    fields=("last_point",),
                    retention=Retention("until the import ends"),
                    anonymize=Disposition.CLEARED,
                    erase=Disposition.CLEARED,
                    reason=NOT_ABOUT_USER,
                ),
                _technical(
                    fields=("id", "place", "collection", "vector", "counts", "options", "rejects", "started_at", "finished_at"),
                    retention=Retention("as long as the database exists"),
                    anonymize=Disposition.KEPT,
                    erase=Disposition.KEPT,
                    reason="these fields are about no user",
                ),
            ),
        ),
    }

    protection = {"vectorstore.ImportDigest": Protection(users=("user",), protected={})}

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Return the digests, None if no point of the user was imported."""
        return {"digest": ImportDigest.objects.filter(pk=user_id).values(*columns_of(ImportDigest)).first()}

    def export_schema(self) -> Schema:
        return object_of({"digest": or_null(row_of(self.tables, "vectorstore.ImportDigest"))})

    def anonymize(self, user_id: UUID) -> None:
        ImportDigest.objects.filter(pk=user_id).delete()
        VectorImport.forget(user_id)

    def erase(self, user_id: UUID) -> None:
        VectorImport.forget(user_id)

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        VectorImport.objects.filter(IsAmong("last_point", f"{{{','.join(map(str, user_ids))}}}", "varchar")).update(last_point="")

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
    is_projection = True
    copy_command = "Import it (manage.py import_embeddings), then run manage.py sync_qdrant --once."
    data = (
        _matched(fields=("vector", "video_features"), category=Category.LIKENESS),
        _matched(fields=("location",), category=Category.LOCATION),
        _matched(fields=("interests", "active", "verified"), category=Category.PROFILE),
        _matched(fields=("user_id", "age", "age_group", "gender"), category=Category.IDENTITY),
        _matched(fields=("created_at", "version"), category=Category.TECHNICAL),
    )

    @property
    def keeps_deleted_bytes(self) -> bool:
        """The embedded Qdrant overwrites what it deletes, and has no snapshots."""
        from vectorstore.qdrant.connection import is_embedded

        return not is_embedded()

    def stored_fields(self) -> frozenset[str]:
        """Return the vector and the fields of the payload, from the code that makes the points."""
        from vectorstore.projection.payload import payload_fields

        return payload_fields() | {"vector", "version"}

    @contextmanager
    def session(self) -> Iterator[None]:
        from vectorstore.catalog.alias import live_collection
        from vectorstore.qdrant.connection import qdrant

        with qdrant() as client:
            live_collection(client)
            yield

    def holds(self, user_id: UUID) -> bool:
        """Return whether any collection has the point: the live one, one that is being built or retained, or the copy of an adopted one."""
        from vectorstore.sync.leftovers import has_point

        return has_point(user_id)

    def places(self, user_id: UUID) -> dict[str, int]:
        from vectorstore.sync.leftovers import collections_having

        return {f"the collection {name!r}": 1 for name in collections_having(user_id)}

    def has_only_copy(self, user_id: UUID) -> bool:
        """Return whether a point holds a vector that FindMe did not write and that no embedding has."""
        from vectorstore.catalog.registry import deletion_targets
        from vectorstore.qdrant.connection import qdrant
        from vectorstore.retention.unique_vectors import unique_among

        with qdrant() as client:
            return any(unique_among(client, collection, [str(user_id)]) for collection in deletion_targets())

    def remove(self, user_id: UUID) -> bool:
        """Delete the point, then remove the user from the sentinels. Return whether there was a point.

        The deletion takes long. Meanwhile a worker may write a checkpoint with this user as a sentinel. So ``remove_sentinels`` runs after it.
        """
        from vectorstore.sync.inline import remove_point

        with self.session():  # without the alias, the collections of the registry are not known to be those that are served
            removed = remove_point(user_id)
        StoreState.remove_sentinels([user_id])
        return removed

    def remove_many(self, user_ids: Collection[UUID]) -> None:
        from vectorstore.sync.inline import remove_points

        with self.session():
            remove_points(sorted(user_ids))
        StoreState.remove_sentinels(user_ids)

    def batches(self) -> AbstractContextManager[None]:
        from vectorstore.sync.inline import shared_connection

        return shared_connection()

    def remaining_many(self, user_ids: Collection[UUID]) -> list[str]:
        from vectorstore.sync.leftovers import collections_with_point

        return [f"the collection {name!r}" for name in collections_with_point(*user_ids)]

    def remaining(self, user_id: UUID) -> list[str]:
        from vectorstore.sync.leftovers import collections_with_point

        return [f"the collection {name!r}" for name in collections_with_point(user_id)]

    def scan(self, user_ids: Collection[UUID]) -> frozenset[UUID]:
        from vectorstore.sync.leftovers import scan_for_users

        return scan_for_users(user_ids)


registry.register(Embeddings())
registry.register(Syncing())
registry.register(Imports())
registry.register_store(VectorStore())
