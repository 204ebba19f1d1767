import pytest

from tests.privacy.shelf import Shelf, install_shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The only store. Every owner stays, that of the embeddings too."""
    return install_shelf(monkeypatch)
