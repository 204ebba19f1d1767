"""The number of seeds of a storm: processes that write while others are killed."""

from __future__ import annotations

import os


def storm_seeds(number: int) -> range:
    """Return the seeds of ``make storm SEEDS=n``, or ``number`` seeds in ``make test-long``."""
    return range(int(os.environ.get("STORM_SEEDS", number)))
