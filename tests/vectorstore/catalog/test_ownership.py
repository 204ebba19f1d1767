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


def put_a_point() -> None:
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 512)])


def test_check_stores_ours__what_init_qdrant_makes_is(every_store: str) -> None:
    initialize()
    put_a_point()
    assert refusal() is None


def test_check_stores_ours__another_databases_is_not(every_store: str) -> None:
    initialize()
    set_metadata(**{DATABASE: ANOTHER})
    assert refusal() == (
        f"The collection {version(1)!r} belongs to another database ({ANOTHER!r}): nothing was written. Adopt it with"
        " manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name."
    )


def test_check_stores_ours__one_with_points_that_does_not_say_is_not(store: str) -> None:
    initialize()
    set_metadata(**{DATABASE: None})
    assert refusal() is None
    put_a_point()
    assert refusal() == (
        f"The collection {version(1)!r} has points, but no owner in its metadata: nothing was written. Adopt it with"
        " manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name."
    )


def test_check_stores_ours__one_whose_adoption_was_interrupted_is_not(store: str) -> None:
    initialize()
    set_metadata(**{ADOPTING: True})
    assert str(refusal()).startswith(f"The adoption of the collection {version(1)!r} is not finished: nothing was written.")


@pytest.mark.at_length("server")
@pytest.mark.django_db(transaction=True)
def test_ownership__commands_that_write_refuse_in_one_line(store: str) -> None:
    """As after DATABASE_URL was changed to another database with the same users."""
    initialize()
    ours = str(StoreState.current().database_id)
    StoreState.objects.update(database_id=ANOTHER)
    line = (
        "The collection {!r} belongs to another database ({!r}): {}. Adopt it with manage.py init_qdrant --adopt,"
        " or set QDRANT_COLLECTION to another name.\n"
    )
    assert manage("sync_qdrant", "--once") == (2, "", line.format(version(1), ours, "nothing was written"))
    assert manage("init_qdrant") == (2, "", line.format(version(1), ours, "nothing was changed"))


@pytest.mark.django_db(transaction=True)
def test_check_owner__notices_an_adoption_when_the_is_checkpoint_due(store: str) -> None:
    """A worker that has been running all along stops within half a minute."""
    initialize()
    with qdrant() as client:
        preflight.check_stores(client)
        set_metadata(**{DATABASE: ANOTHER})
        preflight.check_stores(client)
        StoreState.objects.update(checkpoint_at=datetime(2026, 1, 1, tzinfo=UTC))
        with pytest.raises(UserFacingError, match="belongs to another database"):
            preflight.check_stores(client)
