"""Numbers with the right form of a noun or verb."""

from __future__ import annotations

import pytest

from findme.core.plurals import counted, plural


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 points"), (1, "1 point"), (2, "2 points"), (-1, "-1 points"), (1_000, "1,000 points"), (1_001, "1,001 points")],
)
def test_counted__with_an_s(number: int, said: str) -> None:
    assert counted(number, "point") == said


def test_counted__other_plurals_and_verbs() -> None:
    assert [counted(number, "person is", "persons are") for number in (0, 1, 2)] == ["0 persons are", "1 person is", "2 persons are"]
    assert [plural(number, "has", "have") for number in (0, 1, 2)] == ["have", "has", "have"]
