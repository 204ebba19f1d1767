"""The marker ``at_length``: examples that repeat a property at another size, moment or store. ``make test`` leaves them out; ``make test-long`` runs them."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run only the examples that are left out otherwise (the marker at_length)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    at_length = bool(config.getoption("--long"))
    others = [item for item in items if is_at_length(item) != at_length]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if is_at_length(item) == at_length]


def is_at_length(item: pytest.Item) -> bool:
    """``at_length`` means every example of a test, and ``at_length("server")`` the examples with that parameter."""
    marker = item.get_closest_marker("at_length")
    if marker is None or not marker.args:
        return marker is not None
    parameters = item.callspec.id.split("-") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else []
    return not set(marker.args).isdisjoint(parameters)
