"""Vectors and places that need no database, also for processes without Django."""

from __future__ import annotations

import numpy as np

CITIES = ((52.52, 13.405), (48.857, 2.352), (51.507, -0.128))


def unit_vector(seed: int) -> list[float]:
    """Return a vector of 512 numbers and length 1 that depends on ``seed``.

    The numbers are those that PostgreSQL returns for a ``real``, so they do not change in the database.
    """
    vector = np.random.default_rng(seed).standard_normal(512)
    return [float(str(number)) for number in (vector / np.linalg.norm(vector)).astype(np.float32)]
