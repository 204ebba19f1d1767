"""The fence: a collection that is being adopted refuses upserts, and is searched as before."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.qdrant import QdrantServer
from tests.support.commands import outcome, run_python
from tests.vectorstore.adoption.guide import OTHER_VECTOR, fill, guide_collection_of, point
from tests.vectorstore.retention.unique_points import point_ids, users_without_embedding
from tests.vectorstore.snapshots.snapshot_proxy import silent_proxy
from vectorstore.adoption import fence
from vectorstore.adoption.adopt import adopt
from vectorstore.adoption.fence import fenced, lift
from vectorstore.catalog.saved_settings import change_settings, saved_settings
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.backfill import backfill
from vectorstore.snapshots.nodes import Node, every_node

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


TERMINATED_ADOPTION = """
import os, signal, sys
from findme.cli import main
from vectorstore.adoption import replace

replace.build = lambda **_options: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(main(["manage.py", "init_qdrant", "--adopt"]))
"""


class Stopped(Exception):
    """Ends a block under the fence."""


def nodes() -> tuple[Node, ...]:
    with qdrant() as client:
        return every_node(client, ())


def clients(server: QdrantServer) -> list[QdrantClient]:
    """Return clients of another program, by REST and by gRPC."""
    options: dict[str, Any] = {
        "url": server.url,
        "api_key": server.api_key or None,
        "grpc_port": server.grpc_port,
        "check_compatibility": False,
    }
    return [QdrantClient(**options, prefer_grpc=prefer_grpc) for prefer_grpc in (False, bool(server.grpc_port))]


def is_fenced() -> bool:
    try:
        fill([point(uuid4(), vector=OTHER_VECTOR)])
    except UserFacingError:
        return True
    return False


@pytest.mark.filterwarnings("ignore:Api key is used")
def test_fenced__every_client__may_read_and_may_not_upsert(server: QdrantServer) -> None:
    (user,) = guide_collection_of(1)
    name, ids = collection_name(), [str(user)]
    of_user = models.Filter(must=[models.FieldCondition(key="gender", match=models.MatchValue(value="female"))])
    changed = point(user, vector=OTHER_VECTOR)
    with suppress(Stopped), fenced(nodes(), name):
        for client in clients(server):
            for upsert in (
                partial(client.upsert, name, [changed]),
                partial(client.upsert, name, models.Batch(ids=[*ids], vectors=[OTHER_VECTOR])),
                partial(client.batch_update_points, name, [models.UpsertOperation(upsert=models.PointsList(points=[changed]))]),
                partial(client.update_vectors, name, [models.PointVectors(id=ids[0], vector=OTHER_VECTOR)]),
            ):
                with pytest.raises(Exception, match="Limit exceeded 1 > 0"):
                    upsert()
            assert [found.id for found in client.query_points(name, query=OTHER_VECTOR, query_filter=of_user, limit=5).points] == ids
            assert [found.id for found in client.scroll(name, scroll_filter=of_user)[0]] == ids
            client.close()
        raise Stopped
    assert not is_fenced()


def test_fenced__block_fails__settings_of_the_operator_are_restored(qdrant_server: QdrantServer) -> None:
    guide_collection_of(1)
    with qdrant() as client:
        client.update_collection(collection_name(), strict_mode_config=models.StrictModeConfig(enabled=True, upsert_max_batchsize=7))
        before = client.get_collection(collection_name()).config
    with suppress(Stopped), fenced(nodes(), collection_name()):
        assert is_fenced()
        raise Stopped
    with qdrant() as client:
        assert client.get_collection(collection_name()).config == before
    assert saved_settings() == {}


@pytest.mark.parametrize("limit", [{"max_query_limit": 2}, {"unindexed_filtering_retrieve": False, "search_allow_exact": False}])
def test_fenced__limits_of_a_strict_mode_that_is_off__stay_off(qdrant_server: QdrantServer, limit: dict[str, Any]) -> None:
    users = guide_collection_of(3)
    name = collection_name()
    with qdrant() as client:
        client.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False, upsert_max_batchsize=7, **limit))
        before = client.get_collection(name).config
    of_note = models.Filter(must_not=[models.FieldCondition(key="note", match=models.MatchValue(value="none"))])
    exact = models.SearchParams(exact=True)
    with suppress(Stopped), fenced(nodes(), name):
        assert is_fenced()
        with qdrant() as client:
            found = client.query_points(name, query=OTHER_VECTOR, query_filter=of_note, search_params=exact, limit=3).points
        assert len(found) == len(users)
        raise Stopped
    with qdrant() as client:
        assert client.get_collection(name).config == before


def test_fenced__test_write_is_accepted__stops_and_changes_nothing(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without this strict mode would accept the write, which updates no point."""
    users = guide_collection_of(2)
    monkeypatch.setattr(fence, "FENCE", {"enabled": True, "upsert_max_batchsize": 100})
    monkeypatch.setattr(fence, "CONSENSUS_SECONDS", 0.1)
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, line.split(" by ")[0]) == (2, f"{collection_name()!r} still accepts writes")
    assert "although strict mode forbids them: nothing was changed." in line
    assert point_ids() == {str(user) for user in users}
    assert saved_settings() == {}


@pytest.mark.parametrize("command", [["init_qdrant"], ["init_qdrant", "--adopt"]])
def test_init_qdrant__adoption_was_killed_under_the_fence__lifts_it(qdrant_server: QdrantServer, command: list[str]) -> None:
    guide_collection_of(1)
    with qdrant() as client:
        fill(map(point, users_without_embedding(1)))
        change_settings(client, collection_name(), fence.FENCE)
    assert is_fenced()
    assert outcome(*command)[0] == 2
    assert not is_fenced()
    assert saved_settings() == {}


def test_init_qdrant__sigterm_under_the_fence__lifts_it(qdrant_server: QdrantServer) -> None:
    """A shutdown of the machine must not keep the old services from writing."""
    guide_collection_of(1)
    code, _, stderr = run_python(TERMINATED_ADOPTION)
    assert (code, "interrupted. Run it again" in stderr) == (130, True), stderr
    assert (saved_settings(), is_fenced()) == ({}, False)


def test_init_qdrant__check_and_plan_under_the_fence__report_it(qdrant_server: QdrantServer, capsys: pytest.CaptureFixture[str]) -> None:
    guide_collection_of(1)
    with qdrant() as client:
        change_settings(client, collection_name(), fence.FENCE)
    for arguments in (["--check"], ["--plan"], ["--adopt", "--plan"]):
        outcome("init_qdrant", *arguments)
        assert f"{collection_name()} refuses upserts since an adoption was interrupted" in capsys.readouterr().out
    assert is_fenced()
    adopt()


def test_lift__collection_became_an_alias__live_collection_is_unchanged(qdrant_server: QdrantServer) -> None:
    """A killed adoption may leave settings of a collection whose name is an alias by now."""
    guide_collection_of(1)
    adopt()
    with qdrant() as client:
        before = client.get_collection(collection_name()).config
        change_settings(client, f"{collection_name()}_v1", {"enabled": True})
        state = saved_settings()
    StoreState.objects.update(saved_settings={collection_name(): state[f"{collection_name()}_v1"]})
    with qdrant() as client:
        assert lift(client, collection_name())
        assert client.get_collection(collection_name()).config != before
    assert saved_settings() == {}


def test_fenced__server_is_unavailable_at_the_end__says_that_the_fence_remains(qdrant_server: QdrantServer, settings: Settings) -> None:
    guide_collection_of(1)
    url, reached, silent = settings.QDRANT_URL, list[str](), list[bool]()
    settings.QDRANT_TIMEOUT = 1

    def fail_under_the_fence() -> None:
        with fenced(nodes(), collection_name()):
            silent.append(True)
            raise StoreUnavailable("The build failed.")

    with (
        silent_proxy(url, lambda request: bool(silent) and request.startswith("PATCH"), reached) as settings.QDRANT_URL,
        pytest.raises(UserFacingError, match=r"^The build failed\. .* still refuses upserts .* run manage\.py init_qdrant"),
    ):
        fail_under_the_fence()
    settings.QDRANT_URL = url
    assert is_fenced()
    outcome("init_qdrant")
    assert not is_fenced()


def test_fenced__postgresql_is_unavailable_at_the_end__is_lifted(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old services must be able to write again, although the saved settings cannot be read."""
    guide_collection_of(1)

    def refuse(*_arguments: Any) -> None:
        raise OperationalError("connection refused")

    with monkeypatch.context() as patched, suppress(Stopped), fenced(nodes(), collection_name()):
        patched.setattr(DatabaseWrapper, "ensure_connection", refuse)
        connection.close()
        raise Stopped
    assert not is_fenced()
    assert outcome("init_qdrant")[0] == 2
    assert (saved_settings(), is_fenced()) == ({}, False)


def test_adopt__program_writes_during_the_adoption__is_refused(server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upsert does not reach the old collection, so nothing is lost when it is deleted."""
    users = guide_collection_of(2)
    (unstored,) = users_without_embedding(1)
    refused: list[UUID] = []

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        try:
            fill([point(unstored)])
        except UserFacingError:
            refused.append(unstored)
        return backfill(*arguments, **options)

    monkeypatch.setattr("vectorstore.rebuild.build.backfill", meanwhile)
    assert outcome("init_qdrant", "--adopt") == (0, "")
    assert refused == [unstored]
    assert point_ids() == {str(user) for user in users}
