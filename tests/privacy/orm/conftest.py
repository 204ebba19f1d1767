import pytest

from tests.privacy.shelf import Shelf, install_shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Use a shelf as the only store. All owners stay, also that of the embeddings."""
    return install_shelf(monkeypatch)
