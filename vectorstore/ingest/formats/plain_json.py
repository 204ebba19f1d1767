"""A row of an ``.npz`` or Parquet file as JSON can hold it, for the rejects."""

from __future__ import annotations

import math
from uuid import UUID

import numpy as np


def plain_json(value: object) -> object:
    """NaN and the infinities, which JSON lacks, become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``; bytes become their digits."""
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
