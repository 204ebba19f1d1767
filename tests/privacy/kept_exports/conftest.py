from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> Path:
    """Return the folder of the exports of this test."""
    folder = tmp_path / "exports"
    folder.mkdir(mode=0o700)
    settings.EXPORTS_DIR = str(folder)
    return folder
