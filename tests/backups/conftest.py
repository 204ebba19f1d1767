from __future__ import annotations

from pathlib import Path

import pytest

from backups.destinations.destination import Destination
from backups.destinations.opening import open_destination


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for backups."""
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def destination(place: Path) -> Destination:
    return open_destination(str(place))
