"""The personal data of the vector store: table ``profile_embeddings``, and the point in Qdrant that is projected from it.

What talks to Qdrant is imported where it is used: its client takes most of a second to import, and this module is part of every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from privacy.columns import columns_of
from privacy.registry import Consequence, Fate, PersonalDataOwner, Store, registry
from vectorstore.models import ProfileEmbedding


class Embeddings(PersonalDataOwner):
    """The vector says what a face and a voice are like, the location where somebody is: nothing of the row outlives an anonymisation."""

    section = "vector_store"
    fields = {
        "vectorstore.ProfileEmbedding": frozenset(
            {"user", "vector", "location", "interests", "video_features", "model", "created_at", "updated_at"}
        )
    }

    def export(self, user_id: UUID) -> dict[str, Any]:
        """The row, and the point as it is in Qdrant (its vector of length 1), each None where there is none. Raises StoreUnavailable."""
        from vectorstore.projection import point_of

        embedding = ProfileEmbedding.objects.filter(pk=user_id).values(*columns_of(ProfileEmbedding)).first()
        return {"embedding": embedding, "point": point_of(user_id)}

    def anonymise(self, user_id: UUID) -> None:
        ProfileEmbedding.objects.filter(pk=user_id).delete()

    def after_anonymisation(self, user_id: UUID) -> list[Consequence]:
        return [Consequence("embeddings", ProfileEmbedding.objects.filter(pk=user_id).count(), Fate.DELETED)]

    def after_erasure(self, user_id: UUID) -> list[Consequence]:
        return self.after_anonymisation(user_id)


class VectorStore(Store):
    """The person's point in Qdrant. What it is projected from must be gone, or hidden, in the transaction that removes it."""

    name = "vector store"

    @contextmanager
    def reached(self) -> Iterator[None]:
        from vectorstore.collection import live_collection
        from vectorstore.connection import qdrant

        with qdrant() as client:
            live_collection(client)
            yield

    def holds(self, user_id: UUID) -> bool:
        from vectorstore.projection import point_of

        return point_of(user_id) is not None

    def remove(self, user_id: UUID) -> bool:
        from vectorstore.projection import remove_point

        return remove_point(user_id)


registry.register(Embeddings())
registry.register_store(VectorStore())
