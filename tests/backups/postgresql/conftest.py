"""Servers and databases for the tests of PostgreSQL's part of a backup."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.support.postgresql_versions import installed_versions, server_of_version


@pytest.fixture
def older_server(django_db_blocker: DjangoDbBlocker) -> Iterator[int]:
    """Connect Django to a server of the oldest version on this machine, and return the version. It trusts every client."""
    if not (versions := installed_versions()):
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")
    with django_db_blocker.unblock(), server_of_version(versions[0]):
        yield versions[0]
