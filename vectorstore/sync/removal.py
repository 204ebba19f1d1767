"""One user's point in Qdrant: what it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np

from vectorstore.catalog.alias import live_collection
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import points_among


def point_of(user_id: UUID) -> dict[str, Any] | None:
    """The person's point as it is in Qdrant: ``payload`` and ``vector`` (of length 1; None where it is not 512 numbers, or one is NaN); None where
    there is none. Raises StoreUnavailable."""
    with qdrant() as client:
        found = points_among(live_collection(client), [user_id])
    if not found.ids:
        return None
    (vector,) = found.vectors
    return {"payload": found.payloads[0], "vector": vector.tolist() if np.isfinite(vector).all() else None}
