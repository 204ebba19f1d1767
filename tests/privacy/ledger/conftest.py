"""A ledger of one test, with its keys and its folder outside."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from privacy.ledger.keys import create_keys
from privacy.ledger.signing import create_signing_key


@pytest.fixture
def keys_folder(tmp_path: Path, settings: Settings) -> Path:
    """Create the keys of the ledger."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    settings.ERASURE_LEDGER_KEYS = str(folder / "ledger-keys.json")
    settings.PRIVACY_SIGNING_KEY = str(folder / "signing-key.pem")
    create_keys(folder / "ledger-keys.json")
    create_signing_key(folder / "signing-key.pem")
    return folder


@pytest.fixture
def outside(tmp_path: Path, keys_folder: Path, settings: Settings) -> Path:
    """Create an empty ledger outside, a folder."""
    folder = tmp_path / "ledger"
    folder.mkdir(mode=0o700)
    settings.ERASURE_LEDGER_URL = str(folder)
    return folder


@pytest.fixture
def ledger(outside: Path, transactional_db: None) -> Path:
    """Return the folder of the ledger outside. ``tests.emptying`` empties the table afterwards."""
    return outside
