"""Convert a row of an ``.npz`` or Parquet file to plain JSON values, for the rejects file."""

from __future__ import annotations

import math
from uuid import UUID

import numpy as np


def plain_json(value: object) -> object:
    """Return ``value`` as plain JSON values.

    JSON has no NaN and no infinities. They become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Bytes become hex digits.
    """
    match value:
        case np.ndarray():
            return value.tolist() if np.isfinite(value).all() else plain_json(value.tolist())
        case dict():
            return {str(key): plain_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain_json(inner) for inner in value]
        case bytes():
            return value.hex()
        case UUID():
            return str(value)
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value
