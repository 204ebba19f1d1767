"""Columns that are shown as a coloured label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from unfold.decorators import display

C = TypeVar("C", bound=Callable[..., Any])


def labelled(description: str, colours: dict[str, str]) -> Callable[[C], C]:
    """For a column that gives a key of COLOURS, or a pair of a key and the text to show."""
    return cast("Callable[[C], C]", display(description=description, label=colours))
