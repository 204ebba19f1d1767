"""Run long tests first in each process. Short tests at the end can be shared evenly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the shuffled tests in the same way in every process. One process runs all browser tests, to start the browser once."""
    processes: int = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    browser = [item for item in items if item.get_closest_marker("browser")]
    long = [item for item in items if item.get_closest_marker("long") and item not in browser]
    short = [item for item in items if item not in browser and item not in long]
    items[:] = _in_blocks(_dealt(browser, long, processes), short)


def _dealt(browser: Sequence[pytest.Item], long: Sequence[pytest.Item], processes: int) -> list[list[pytest.Item]]:
    """Return the first tests of each process. A browser test counts as a long test."""
    hands: list[list[pytest.Item]] = [[] for _ in range(processes)]
    hands[0] += browser
    for item in long:
        min(reversed(hands), key=len).append(item)
    return hands


def _in_blocks(hands: Sequence[Sequence[pytest.Item]], short: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in an order in which ``--dist worksteal`` gives each process its first tests.

    It gives each process one contiguous block, and all blocks have the same size.
    """
    rest, left = list(short), len(short) + sum(map(len, hands))
    ordered: list[pytest.Item] = []
    for number, hand in enumerate(hands):
        size = left // (len(hands) - number)
        drawn = max(size - len(hand), 0)
        ordered += [*hand, *rest[:drawn]]
        del rest[:drawn]
        left -= len(hand) + drawn
    return ordered + rest
