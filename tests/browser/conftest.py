from __future__ import annotations

from pathlib import Path

import pytest

from accounts.models import User
from tests.factories import UserFactory
from tests.privacy.life import full_life
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users


@pytest.fixture
def person(embedded_qdrant: Path) -> User:
    """Return a user with a point and with rows in every table. Other users exist too."""
    initialize()
    person = full_life()
    sync_users([person.pk])
    UserFactory.create_batch(12)
    UserFactory.create(inactive=True), UserFactory.create(deleted=True), UserFactory.create(anonymized=True)
    return person
