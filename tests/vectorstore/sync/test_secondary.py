"""Which errors mark a secondary collection as failed."""

from __future__ import annotations

import pytest

from findme.core.errors import StoreUnavailable
from vectorstore.catalog import registry
from vectorstore.catalog.secondary import MAX_CONSECUTIVE_TIMEOUTS, fail_secondary_on_error
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name
from vectorstore.qdrant.errors import RestoreDetected

pytestmark = pytest.mark.django_db


def retained() -> str:
    name = f"{collection_name()}_v1"
    registry.register(name, VectorCollection.State.RETAINED, "")
    return name


def fail_with(collection: str, error: Exception) -> None:
    with fail_secondary_on_error(collection):
        raise error


def test_fail_secondary_on_error__restored_store__does_not_count_as_a_timeout(embedded_qdrant: object) -> None:
    name = retained()
    for _ in range(2 * MAX_CONSECUTIVE_TIMEOUTS):
        with pytest.raises(RestoreDetected):
            fail_with(name, RestoreDetected("An older copy."))
    assert registry.write_targets() == (name,)


def test_fail_secondary_on_error__repeated_timeouts__marks_it_failed(embedded_qdrant: object) -> None:
    name = retained()
    for _ in range(MAX_CONSECUTIVE_TIMEOUTS - 1):
        with pytest.raises(StoreUnavailable):
            fail_with(name, StoreUnavailable("No answer."))
    fail_with(name, StoreUnavailable("No answer."))
    assert registry.write_targets() == ()
