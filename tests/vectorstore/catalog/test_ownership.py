from datetime import UTC, datetime

import pytest
from qdrant_client import models

from findme.core.errors import UserFacingError
from tests.support.collections import version
from tests.support.commands import manage
from vectorstore.catalog.ownership import ADOPTING, DATABASE, check_owner
from vectorstore.consistency import preflight
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize

pytestmark = pytest.mark.django_db

ANOTHER = "5f0c1f0e-0000-4000-8000-000000000000"


def refusal() -> str | None:
    with qdrant() as client:
        try:
            check_owner(client, version(1))
        except UserFacingError as error:
            return str(error)
    return None


def set_metadata(**metadata: object) -> None:
    with qdrant() as client:
        client.update_collection(version(1), metadata=metadata)


def write_point() -> None:
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 512)])


def test_check_owner__collection_of_init_qdrant__is_accepted(every_store: str) -> None:
    initialize()
    write_point()
    assert refusal() is None


def test_check_owner__collection_of_another_database__is_refused(every_store: str) -> None:
    initialize()
    set_metadata(**{DATABASE: ANOTHER})
    assert refusal() == (
        f"The collection {version(1)!r} belongs to another database ({ANOTHER!r}): nothing was written. Adopt it with"
        " manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name."
    )


def test_check_owner__points_without_an_owner__is_refused(store: str) -> None:
    initialize()
    set_metadata(**{DATABASE: None})
    assert refusal() is None
    write_point()
    assert refusal() == (
        f"The collection {version(1)!r} has points, but no owner in its metadata: nothing was written. Adopt it with"
        " manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name."
    )


def test_check_owner__interrupted_adoption__is_refused(store: str) -> None:
    initialize()
    set_metadata(**{ADOPTING: True})
    assert str(refusal()).startswith(f"The adoption of the collection {version(1)!r} is not finished: nothing was written.")


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_commands__collection_of_another_database__refuse(store: str) -> None:
    """As after changing DATABASE_URL to another database with the same users."""
    initialize()
    own_id = str(StoreState.current().database_id)
    StoreState.objects.update(database_id=ANOTHER)
    line = (
        "The collection {!r} belongs to another database ({!r}): {}. Adopt it with manage.py init_qdrant --adopt,"
        " or set QDRANT_COLLECTION to another name.\n"
    )
    assert manage("sync_qdrant", "--once") == (2, "", line.format(version(1), own_id, "nothing was written"))
    assert manage("init_qdrant") == (2, "", line.format(version(1), own_id, "nothing was changed"))


@pytest.mark.django_db(transaction=True)
def test_check_stores__collection_was_adopted_elsewhere__is_noticed_with_the_next_checkpoint(store: str) -> None:
    """A running worker stops within half a minute."""
    initialize()
    with qdrant() as client:
        preflight.check_stores(client)
        set_metadata(**{DATABASE: ANOTHER})
        preflight.check_stores(client)
        StoreState.objects.update(checkpoint_at=datetime(2026, 1, 1, tzinfo=UTC))
        with pytest.raises(UserFacingError, match="belongs to another database"):
            preflight.check_stores(client)
