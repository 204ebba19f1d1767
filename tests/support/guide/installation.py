"""An installation of the migration guide: its tables with rows, and its collection with the only copy of the vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient

from tests.support.database import Database
from tests.support.guide.points import COLLECTION, Point, create_collection, insert, points_of
from tests.support.guide.rows import Rows, Session, add_rows, break_rules, columns_of, delete_some, digests
from tests.support.guide.schema import create_guide_tables

TOLERANCE = 1e-6
"""How much a number of a vector of length 1 may differ: Qdrant normalizes again."""


@dataclass
class Installation:
    database: Database
    rows: Rows
    points: list[Point]
    """The points as they were inserted, those of deleted users included."""
    vectors: dict[UUID, list[float]]
    """The vectors as Qdrant stored them."""
    columns: Mapping[str, list[str]]
    digests: dict[tuple[str, UUID], str]
    broken: dict[str, UUID] = field(default_factory=dict)
    """A row that breaks a stricter rule, by rule."""

    def changed_rows(self) -> set[tuple[str, UUID]]:
        """Return the rows, by table and id, that are gone or have another value in a column of the guide."""
        with self.database.connect() as session:
            now = digests(session, self.columns)
        return {key for key, digest in self.digests.items() if now.get(key) != digest}

    def lost_embeddings(self, rewritten: Mapping[UUID, list[float]] | None = None) -> list[str]:
        """Return the users whose row in ``profile_embeddings`` is not what their point was.

        ``rewritten`` has newer vectors, which a service wrote.
        """
        with self.database.connect() as session:
            found = embeddings(session)
        lost: list[str] = []
        for point in self.points:
            if point.user_id in self.rows.users:
                row = found.get(point.user_id)
                vector = (rewritten or {}).get(point.user_id, self.vectors[point.user_id])
                fields = tuple(point.payload[name] for name in ("location", "interests", "video_features"))
                if row is None or row[1:] != fields or not np.allclose(row[0], vector, rtol=0, atol=TOLERANCE):
                    lost.append(str(point.user_id))
        return lost


def embeddings(session: Session) -> dict[UUID, tuple[Any, ...]]:
    """Return vector, location, interests and features by user."""
    return {
        row[0]: row[1:] for row in session.execute("SELECT user_id, vector, location, interests, video_features FROM profile_embeddings")
    }


def install(database: Database, client: QdrantClient, users: int, without_vector: int = 2, *, breaking_rules: bool = False) -> Installation:
    """Build the installation: ``users`` rows of ``users`` and more in the other tables, and a point for each user but the first ``without_vector``.

    Then some users are deleted by the guide's statements. Their points stay.
    """
    create_guide_tables(database)
    create_collection(client)
    with database.connect() as session:
        added = add_rows(session, users)
        points = points_of(session, added[without_vector:])
        insert(client, points)
        rows = delete_some(session, added)
        broken = break_rules(session, added) if breaking_rules else {}
        columns = columns_of(session)
        return Installation(database, rows, points, stored_vectors(client), columns, digests(session, columns), broken)


def stored_vectors(client: QdrantClient, collection: str = COLLECTION) -> dict[UUID, list[float]]:
    records, _ = client.scroll(collection, limit=1_000_000, with_vectors=True, with_payload=False)
    return {UUID(str(record.id)): record.vector for record in records if isinstance(record.vector, list)}  # type: ignore[misc]
