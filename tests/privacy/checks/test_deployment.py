"""In production, the ledger outside and its keys must be there."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from privacy.checks.deployment import check_ledger_settings
from privacy.ledger.keys import create_keys
from privacy.ledger.signing import create_signing_key


@pytest.fixture
def production(settings: Settings, tmp_path: Path) -> Settings:
    settings.PRIVACY_FILES_CREATED = False
    settings.ERASURE_LEDGER_URL = str(tmp_path)
    settings.ERASURE_LEDGER_KEYS, settings.PRIVACY_SIGNING_KEY = str(tmp_path / "keys.json"), str(tmp_path / "key.pem")
    create_keys(tmp_path / "keys.json")
    create_signing_key(tmp_path / "key.pem")
    return settings


def test_ledger_settings__complete(production: Settings) -> None:
    assert check_ledger_settings() == []


@pytest.mark.parametrize("name", ["ERASURE_LEDGER_URL", "ERASURE_LEDGER_KEYS", "PRIVACY_SIGNING_KEY"])
def test_ledger_settings__one_is_missing(production: Settings, name: str) -> None:
    setattr(production, name, "")
    (error,) = check_ledger_settings()
    assert (error.id, name in error.msg) == ("privacy.E011", True)


def test_ledger_settings__a_file_that_others_can_read(production: Settings) -> None:
    Path(production.PRIVACY_SIGNING_KEY).chmod(0o644)
    (error,) = check_ledger_settings()
    assert error.msg == "PRIVACY_SIGNING_KEY cannot be used: no user can be erased."
    assert error.hint is not None
    assert "Run chmod 600" in error.hint
