"""Fixtures of all tests of backups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from backups.destinations.destination import Destination
from backups.destinations.opening import open_destination
from tests.support.postgresql_versions import installed_versions, server_of_version


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for backups."""
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def destination(place: Path) -> Destination:
    return open_destination(str(place))


@pytest.fixture
def older_server(django_db_blocker: DjangoDbBlocker) -> Iterator[int]:
    """Connect Django to a server of the oldest version on this machine, and return the version. It trusts every client."""
    if not (versions := installed_versions()):
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")
    with django_db_blocker.unblock(), server_of_version(versions[0]):
        yield versions[0]
