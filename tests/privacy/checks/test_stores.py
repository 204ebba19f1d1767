"""Checks of the fields of stores."""

import pytest

from privacy.checks.stores import errors_of_stores
from privacy.declarations import PersonalData
from tests.privacy.checks.owner import declared
from tests.privacy.shelf import Shelf


class Drawer(Shelf):
    def __init__(self, *data: PersonalData) -> None:
        super().__init__()
        self.data = data

    def stored_fields(self) -> frozenset[str]:
        return frozenset({"id", "shape"})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([declared("id")], "has fields without a declaration: shape"),
        ([declared("id", "shape", "size")], "declares fields that it does not have: size"),
        ([declared("id", "shape"), declared("shape")], "declares fields twice: shape"),
    ],
)
def test_stores__wrong_declaration(data: list[PersonalData], problem: str) -> None:
    (error,) = errors_of_stores([Drawer(*data)])
    assert (error.id, error.msg) == ("privacy.E009", f"The shelf {problem}.")
    assert error.hint == "Correct the data of tests.privacy.checks.test_stores.Drawer."


def test_stores__complete_declaration() -> None:
    assert list(errors_of_stores([Drawer(declared("id"), declared("shape"))])) == []
