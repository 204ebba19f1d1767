"""A collection of a version before the first release is refused. Its points and metadata are not changed."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from tests.support.collections import version
from tests.support.commands import manage
from vectorstore.catalog.ownership import EARLIER_KEYS, ForeignCollection, ownership_problem
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize

pytestmark = pytest.mark.django_db(transaction=True)


def make_earlier(key: str) -> None:
    initialize()
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=1, vector=[1.0] * 512)])
        client.update_collection(version(1), metadata={key: "as it was"})


def line(key: str) -> str:
    return (
        f"The collection {version(1)!r} was created by an earlier version (its metadata has {key!r}): nothing was changed."
        " Set QDRANT_COLLECTION to another name, then run manage.py init_qdrant."
    )


def all_state() -> tuple[Any, ...]:
    with qdrant() as client:
        names = sorted(one.name for one in client.get_collections().collections if one.name.startswith(collection_name()))
        return names, client.get_collection(version(1)).config.metadata, client.scroll(version(1), with_vectors=True)


@pytest.mark.at_length("server", "embedded-init_qdrant --check", "embedded-init_qdrant --adopt --force", "embedded-init_qdrant")
@pytest.mark.parametrize(
    "arguments",
    [("init_qdrant",), ("init_qdrant", "--adopt", "--force"), ("init_qdrant", "--check"), ("sync_qdrant", "--once")],
    ids=" ".join,
)
def test_commands__collection_of_an_earlier_version__refuse_and_change_nothing(store: str, arguments: tuple[str, ...]) -> None:
    make_earlier("findme_mark")
    before = all_state()
    assert manage(*arguments) == (2, "", f"{line('findme_mark')}\n")
    assert all_state() == before


@pytest.mark.parametrize("key", EARLIER_KEYS)
def test_ownership_problem__each_earlier_key__is_refused(embedded_qdrant: object, key: str) -> None:
    make_earlier(key)
    with qdrant() as client, pytest.raises(ForeignCollection) as raised:
        ownership_problem(client, version(1), client.get_collection(version(1)))
    assert str(raised.value) == line(key)
