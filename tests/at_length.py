"""The marker ``at_length``: examples that repeat a property at another size, moment or store.

``make test`` leaves them out. ``make test-long`` runs them only, and ``make test-all`` runs all tests.
Tests of Hypothesis, and tests with the marker ``scaled``, try a fifth of their examples in ``make test``, and all of them in the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import hypothesis
import pytest

ALL_EXAMPLES, FEW_EXAMPLES = 100, 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run only the examples that are left out otherwise (the marker at_length)")
    parser.addoption("--all", action="store_true", help="run all tests: those of a run without --long, and those of a run with it")


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile of Hypothesis before a test module reads it. How long an example takes says nothing: several runs share the machine."""
    hypothesis.settings.register_profile(
        "findme",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        max_examples=ALL_EXAMPLES if config.getoption("--long") or config.getoption("--all") else FEW_EXAMPLES,
    )
    hypothesis.settings.load_profile("findme")


def examples(number: int) -> int:
    """Return ``number``, and a fifth of it in ``make test``."""
    return -(-number * hypothesis.settings().max_examples // ALL_EXAMPLES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    at_length, sampled = bool(config.getoption("--long")), samples(items)
    chosen, others = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        (others if is_left_out(item, at_length, sampled) else chosen).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


def samples(items: Sequence[pytest.Item]) -> set[str]:
    """Return the ids of the examples that ``at_length(every=n)`` leaves to ``make test``: every n-th of a test, in the order of the ids."""
    by_test: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("at_length")
        if marker is not None and "every" in marker.kwargs:
            by_test[item.nodeid.partition("[")[0], marker.kwargs["every"]].append(item.nodeid)
    return {name for (_, every), names in by_test.items() for name in sorted(names)[::every]}


def is_left_out(item: pytest.Item, at_length: bool, sampled: set[str]) -> bool:
    """Return whether the run leaves ``item`` out. A test whose number of examples differs belongs to both runs."""
    is_long = is_at_length(item) and item.nodeid not in sampled
    return not (is_long or is_scaled(item)) if at_length else is_long


def is_scaled(item: pytest.Item) -> bool:
    """Return whether the test tries more examples in ``make test-long``: it has the marker ``scaled``, or is a test of Hypothesis."""
    return item.get_closest_marker("scaled") is not None or bool(getattr(getattr(item, "function", None), "is_hypothesis_test", False))


def is_at_length(item: pytest.Item) -> bool:
    """``at_length`` means every example of a test, and ``at_length("server")`` those with that parameter, or with all of their id.

    ``at_length(every=4)`` means every example as well. One of four is then sampled.
    """
    marker = item.get_closest_marker("at_length")
    if marker is None or not marker.args:
        return marker is not None
    found = item.callspec.id if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ""
    return not {found, *found.split("-")}.isdisjoint(marker.args)
