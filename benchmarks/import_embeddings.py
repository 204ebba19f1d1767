"""Speed of ``import_embeddings`` for new users. Baseline: a bare scroll that writes the same rows by a raw binary COPY.

Both read the same collection in pages of the same size and write each page in its own transaction into the same table, with its constraints and
triggers, in turn. The bare scroll uses qdrant-client and checks nothing. GOAL: at least 0.6 of its speed.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.import_embeddings [--points 20000] [--rounds 3]

Without a server it uses the embedded store, at a small size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import connection, transaction

from benchmarks.program import run
from benchmarks.scratch import scratch_database, scratch_store, size, start, timed
from findme.core.errors import UserFacingError

if TYPE_CHECKING:  # the client takes most of a second to import
    from qdrant_client.models import Record

GOAL = 0.6
BATCH = 500
COLUMNS = "user_id, vector, model, location, interests, video_features"


def main() -> None:
    options = _options()
    start()
    from benchmarks.users import make_users

    bare: list[float] = []
    imports: list[float] = []
    with scratch_database(), scratch_store() as kind:
        _fill(make_users(options.points))
        for _ in range(options.rounds):
            _empty()
            bare.append(timed(_scroll))
            _require_rows(options.points)
            _empty()
            imports.append(timed(_import))
            _require_rows(options.points)
    scrolled, imported = statistics.median(bare), statistics.median(imports)
    sys.stdout.write(
        f"import_embeddings: {options.points:,} new users, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  bare scroll and COPY {options.points / scrolled:8,.0f} points/s  ({min(bare):.2f} to {max(bare):.2f} s)\n"
        f"  import_embeddings    {options.points / imported:8,.0f} points/s  ({min(imports):.2f} to {max(imports):.2f} s)\n"
        f"  ratio {scrolled / imported:.2f} (goal: at least {GOAL})\n"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=size(20_000, 2_000))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _name() -> str:
    return f"{settings.QDRANT_COLLECTION}_guide"


def _fill(user_ids: list[UUID]) -> None:
    """Create a collection as the guide's program does, without a graph, and fill it."""
    from qdrant_client.models import Distance, OptimizersConfigDiff, PointStruct, VectorParams

    from benchmarks.users import clustered
    from vectorstore.qdrant.connection import qdrant

    vectors = clustered(len(user_ids))
    with qdrant() as client:
        client.create_collection(
            _name(),
            vectors_config=VectorParams(size=512, distance=Distance.COSINE),
            optimizers_config=OptimizersConfigDiff(indexing_threshold=0),
        )
        for first in range(0, len(user_ids), BATCH):
            points = [
                PointStruct(id=str(user_id), vector=vector.tolist(), payload=_payload(user_id))
                for user_id, vector in zip(user_ids[first : first + BATCH], vectors[first : first + BATCH], strict=True)
            ]
            client.upsert(_name(), points, wait=True)


def _payload(user_id: UUID) -> dict[str, Any]:
    return {
        "user_id": str(user_id),
        "gender": "female",
        "age": 30,
        "age_group": "25-34",
        "location": {"lat": 52.52, "lon": 13.405},
        "interests": ["books", "climbing", "sea"],
        "active": True,
        "verified": True,
        "created_at": "2026-01-01T00:00:00Z",
        "video_features": [0.25, 0.5, 0.125, 1.0],
    }


def _empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE profile_embeddings, vector_import_digests, vector_imports")
        cursor.execute("TRUNCATE vector_sync_queue")
        cursor.execute("CHECKPOINT")


def _require_rows(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM profile_embeddings")
        if (found := cursor.fetchone()[0]) != count:
            raise UserFacingError(f"of {count:,} points {found:,} became rows")


def _scroll() -> None:
    from vectorstore.qdrant.connection import is_embedded, qdrant
    from vectorstore.qdrant.scroll import EMBEDDED_PAGE_SIZE, PAGE_SIZE

    offset, page_size = None, EMBEDDED_PAGE_SIZE if is_embedded() else PAGE_SIZE
    while True:
        with qdrant() as client:
            page, offset = client.scroll(_name(), limit=page_size, offset=offset, with_payload=True, with_vectors=True)
        _copy(page)
        if offset is None:
            return


def _copy(page: list[Record]) -> None:
    from vectorstore.ingest import binary_copy

    user_ids = b"".join([UUID(str(record.id)).bytes for record in page])
    tails = [_tail(record.payload or {}) for record in page]
    lines = binary_copy.lines_of_vectors(user_ids, np.array([record.vector for record in page], np.float32), tails, fields=6)
    with (
        transaction.atomic(),
        connection.cursor() as cursor,
        cursor.copy(f"COPY profile_embeddings ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(binary_copy.BEGIN + lines + binary_copy.END)


def _tail(payload: dict[str, Any]) -> bytes:
    from vectorstore.ingest import binary_copy

    features = np.array(payload["video_features"], np.float32)
    return binary_copy.fields(
        [b"", binary_copy.json(payload["location"]), binary_copy.texts(payload["interests"]), binary_copy.reals(features)]
    )


def _import() -> None:
    from vectorstore.ingest.from_qdrant.run import import_embeddings
    from vectorstore.ingest.from_qdrant.source import address_from, checked_source

    imported = import_embeddings(checked_source(address_from(None, None, None), _name(), None))
    if not imported.clean:
        raise UserFacingError(f"The import has findings: {imported.reasons} {imported.invalid_fields}")


if __name__ == "__main__":
    run(main)
