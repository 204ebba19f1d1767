"""What ``import_embeddings`` has stored of a collection: which vector, and the digests of its points."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import VectorParams

from vectorstore.catalog.lock import keep_session
from vectorstore.ingest.from_qdrant.points import Candidate, candidates, selection
from vectorstore.ingest.from_qdrant.source import store_place
from vectorstore.ingest.from_qdrant.stored import bases
from vectorstore.models import VECTOR_SIZE, VectorImport
from vectorstore.qdrant.address import Address, server_address
from vectorstore.qdrant.connection import is_embedded
from vectorstore.qdrant.pages import Page, Selection
from vectorstore.qdrant.scroll import EMBEDDED_PAGE_SIZE, PAGE_SIZE, pages_at


@dataclass(frozen=True, slots=True)
class ImportedVector:
    """One vector of a collection. ``name`` is empty for a vector without a name. ``import_id`` is None if it was never imported."""

    name: str = ""
    import_id: int | None = None

    def pages(self, collection: str, *, whole: bool = False) -> Iterator[Page]:
        """Read every point with this vector, in the order of the ids. Keep the session with the collection lock open.

        The payloads have only the fields that are imported, unless ``whole`` is true.
        """
        address = _address()
        size = EMBEDDED_PAGE_SIZE if address is None else PAGE_SIZE
        selected = Selection(self.name) if whole else selection(self.name)
        with closing(pages_at(address, collection, selected, size, None)) as pages:
            for page in pages:
                keep_session()
                yield page

    def superseded(self, page: Page, users: Collection[UUID]) -> frozenset[UUID]:
        """Return those of the users whose point is as it was when it was equal to the row.

        Where the row differs today, or is gone, PostgreSQL has changed it since. Then nothing is lost with the point.
        """
        if self.import_id is None or not users:
            return frozenset()
        known = bases(users, self.import_id)
        indices = [index for index, point_id in enumerate(page.ids) if point_id in known]
        suspects = Page(
            [page.ids[index] for index in indices],
            [page.payloads[index] for index in indices],
            page.vectors[indices],
            [page.lengths[index] for index in indices],
        )
        found = (one for one in candidates(suspects, "", 1) if isinstance(one, Candidate))
        return frozenset(one.user_id for one in found if one.digest == known[one.user_id].point)


def _address() -> Address | None:
    """Return the server of the settings. None is the embedded store."""
    return None if is_embedded() else server_address()


def imported_vector(client: QdrantClient, collection: str) -> ImportedVector:
    """Return the vector of the collection that was imported last, or the only one that can be imported."""
    row = VectorImport.objects.filter(place=store_place(_address()), collection=collection).order_by("-started_at").first()
    if row is not None:
        return ImportedVector(row.vector, row.pk)
    vectors = client.get_collection(collection).config.params.vectors
    names = [] if isinstance(vectors, VectorParams) else [name for name, one in (vectors or {}).items() if one.size == VECTOR_SIZE]
    return ImportedVector(names[0] if len(names) == 1 else "")
