import pytest

from privacy.registry import registry
from tests.privacy.shelf import Shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The only store. Every owner stays, that of the embeddings too."""
    shelf = Shelf()
    monkeypatch.setattr(registry, "_stores", {shelf.name: shelf})
    return shelf
