"""Seeds of tests that kill processes at random moments. ``make storm SEEDS=n`` runs n of each, and the other targets run few."""

from __future__ import annotations

import os
from typing import Any

import pytest


def storm_seeds(number: int) -> range:
    """Return the seeds of ``make storm SEEDS=n``, or ``number`` seeds in ``make test-long``."""
    return range(int(os.environ.get("STORM_SEEDS", number)))


def kill_seeds(quick: int, at_length: int = 7) -> list[Any]:
    """Return ``quick`` seeds for ``make test``, and those up to ``at_length`` for ``make test-long``, or all of ``make storm SEEDS=n``."""
    number = os.environ.get("STORM_SEEDS")
    if number is not None:
        quick, at_length = 0, int(number)
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.at_length) for seed in range(quick, at_length))]
