"""Privacy actions in the admin with both stores."""

from __future__ import annotations

import io
import json
from typing import Any
from zipfile import ZipFile

import pytest

from accounts.models import User
from privacy.admin.actions import ANONYMIZE, ERASE, EXPORT, SOFT_DELETE, PrivacyAction
from privacy.admin.view import page_url
from tests.factories import ProfileEmbeddingFactory
from tests.support.staff import said, signed_in, superuser
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person(store: str) -> User:
    """Create a user with a point, in each kind of store."""
    initialize()
    person = ProfileEmbeddingFactory.create().user
    sync_users([person.pk])
    return person


def do(action: PrivacyAction, person: User) -> Any:
    return signed_in(superuser()).post(page_url(action, [person.pk]), {"confirmation": person.email})


@pytest.mark.parametrize("action", [ANONYMIZE, SOFT_DELETE, ERASE], ids=lambda action: action.slug)
def test_point__is_deleted(action: PrivacyAction, person: User) -> None:
    page = signed_in(superuser()).get(page_url(action, [person.pk]))
    assert ("points in the vector store", 1, "deleted") in page.context["previews"][0].lines
    assert point_of(person.pk) is not None
    result, *warnings = said(do(action, person))
    assert result == f"{action.done.capitalize()}: {person.pk}."
    assert len(warnings) == (action is ANONYMIZE)  # the size of the group
    assert point_of(person.pk) is None


def test_point__is_exported(person: User) -> None:
    archive = ZipFile(io.BytesIO(b"".join(do(EXPORT, person).streaming_content)))
    exported = json.loads(archive.read("vector_store.json"))
    assert exported["point"]["payload"]["user_id"] == str(person.pk)
    assert len(exported["point"]["vector"]) == len(exported["embedding"]["vector"]) == 512


@pytest.mark.parametrize("action", [ANONYMIZE, ERASE], ids=lambda action: action.slug)
def test_qdrant_unavailable__changes_nothing(action: PrivacyAction, person: User, settings: Any) -> None:
    address, settings.QDRANT_URL = settings.QDRANT_URL, "http://127.0.0.1:9"
    (message,) = said(do(action, person))
    assert message.startswith(f"{action.noun} failed for {person.pk}: Nothing answers at QDRANT_URL 'http://127.0.0.1:9'")
    assert message.endswith("Nothing has changed.")
    settings.QDRANT_URL = address
    assert User.objects.filter(pk=person.pk, email=person.email).exists() and point_of(person.pk) is not None
