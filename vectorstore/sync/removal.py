"""Read one user's point in Qdrant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np

from vectorstore.catalog.alias import live_collection
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import points_among


def point_of(user_id: UUID) -> dict[str, Any] | None:
    """Return the user's point as it is in Qdrant, or None if there is none.

    ``payload``, and ``vector`` (length 1), which is None if it has not 512 numbers or one is NaN. Raises StoreUnavailable.
    """
    with qdrant() as client:
        found = points_among(live_collection(client), [user_id])
    if not found.ids:
        return None
    (vector,) = found.vectors
    return {"payload": found.payloads[0], "vector": vector.tolist() if np.isfinite(vector).all() else None}
