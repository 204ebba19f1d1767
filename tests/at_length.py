"""The marker ``at_length``: examples that repeat a property at another size, moment or store. ``make test`` leaves them out; ``make test-long`` runs them.

Hypothesis tries a fifth of its examples in ``make test``, and all of them in ``make test-long``.
"""

from __future__ import annotations

import hypothesis
import pytest

ALL_EXAMPLES, FEW_EXAMPLES = 100, 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run only the examples that are left out otherwise (the marker at_length)")


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile of Hypothesis before a test module reads it. How long an example takes says nothing: several runs share the machine."""
    hypothesis.settings.register_profile(
        "findme",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        max_examples=ALL_EXAMPLES if config.getoption("--long") else FEW_EXAMPLES,
    )
    hypothesis.settings.load_profile("findme")


def examples(number: int) -> int:
    """Return ``number`` in ``make test-long`` and a fifth of it in ``make test``."""
    return -(-number * hypothesis.settings().max_examples // ALL_EXAMPLES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    at_length = bool(config.getoption("--long"))
    others = [item for item in items if is_left_out(item, at_length)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if not is_left_out(item, at_length)]


def is_left_out(item: pytest.Item, at_length: bool) -> bool:
    """A test of Hypothesis belongs to both runs, unless all of it is left to ``make test-long``."""
    if at_length:
        return not is_at_length(item) and not getattr(getattr(item, "function", None), "is_hypothesis_test", False)
    return is_at_length(item)


def is_at_length(item: pytest.Item) -> bool:
    """``at_length`` means every example of a test, and ``at_length("server")`` those with that parameter, or with all of their id."""
    marker = item.get_closest_marker("at_length")
    if marker is None or not marker.args:
        return marker is not None
    found = item.callspec.id if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ""
    return not {found, *found.split("-")}.isdisjoint(marker.args)
