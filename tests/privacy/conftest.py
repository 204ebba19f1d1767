import pytest

from privacy.registry import registry
from tests.privacy.films import films
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.collections import collection

__all__ = ["collection", "films", "shelf"]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Replace Qdrant with a shelf as the only store. Exports do not read Qdrant either."""
    shelf = install_shelf(monkeypatch)
    monkeypatch.setattr(registry, "_owners", {owner.section: owner for owner in registry.owners if owner.section != "vector_store"})
    return shelf
