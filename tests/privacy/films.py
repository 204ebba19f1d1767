"""A folder as the store of the videos of ``full_life``."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from videos.models import Video

PREFIX = "https://videos.example/"


@pytest.fixture
def films(tmp_path: Path, settings: Settings) -> Path:
    """Make a folder the store of the videos."""
    folder = tmp_path / "films"
    folder.mkdir()
    settings.FILE_STORES = {PREFIX: str(folder)}
    return folder


def film_of(person: User, films: Path) -> Path:
    """Write the file of one video of the user. The user's other files do not exist."""
    address = Video.objects.filter(user=person, storage_url__startswith=PREFIX).values_list("storage_url", flat=True)[0]
    film = films / address.removeprefix(PREFIX)
    film.write_bytes(b"film")
    return film
