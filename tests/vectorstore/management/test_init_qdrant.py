import json
import signal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import Settings
from qdrant_client import QdrantClient, models
from qdrant_client.http.api.collections_api import SyncCollectionsApi

from findme.core.errors import UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.collections import version
from tests.support.commands import manage, refused, run_python, started, stdout_of
from tests.support.processes import ended
from vectorstore.catalog import registry
from vectorstore.catalog.lock import lock_key
from vectorstore.catalog.ownership import metadata_of
from vectorstore.consistency import checkpoint
from vectorstore.models import QueueEntry, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.reindex import reindex
from vectorstore.schema.initialize import compare, initialize
from vectorstore.schema.plan import Plan, plan
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db

COSINE = models.Distance.COSINE

EMBEDDED = " Embedded in '{path}', without graphs, thresholds and payload indexes. For those, set QDRANT_URL to a server."

output = partial(stdout_of, "init_qdrant")


def embedded_note(store: str, settings: Settings) -> str:
    return EMBEDDED.format(path=settings.QDRANT_PATH) if store == "embedded" else ""


def all_state() -> list[Any]:
    """Return all collections and aliases of this test, to assert that nothing was changed."""
    with qdrant() as client:
        names = sorted(
            collection.name for collection in client.get_collections().collections if collection.name.startswith(collection_name())
        )
        aliases = [alias for alias in client.get_aliases().aliases if alias.alias_name.startswith(collection_name())]
        return [*(client.get_collection(name).model_dump() for name in names), *aliases]


def missing() -> str:
    return (
        f"  collection {version(1)!r}: missing, expected there (in place)\n"
        f"  noted {version(1)!r}: missing, expected live (in place)\n"
        f"  alias {collection_name()!r}: missing, expected {version(1)} (in place)\n"
    )


def test_init_qdrant__prints_its_changes_and_then_nothing_to_do(store: str, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    note = embedded_note(store, settings)
    name = f"{collection_name()} ({version(1)})"
    assert output(capsys, "--plan") == f"{name}: 3 would be changed.\n{missing()}"
    assert output(capsys) == f"{name}: 3 to change.\n{missing()}Done. The result was read back and compared.\n"
    assert output(capsys) == f"{name}: nothing to do.{note}\n"
    assert output(capsys, "--check") == f"{name} is as defined.{note}\n"
    assert output(capsys, "--plan") == f"{name}: nothing to do.{note}\n"


def test_init_qdrant__new_collection__prints_how_many_users_are_queued(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    ProfileEmbeddingFactory.create_batch(2)
    assert output(capsys).endswith(
        "\nDone. The result was read back and compared.\n2 users are queued and searchable after the next sync. If no sync_qdrant --watch runs, run manage.py sync_qdrant --once.\n"
    )
    with qdrant() as client:
        client.delete_collection(version(1))
    assert json.loads(output(capsys, "--json"))["queued"] == 2
    assert "queued" not in output(capsys)


@pytest.mark.parametrize("option", ["--plan", "--dry-run"])
def test_init_qdrant__plan_changes_nothing(store: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert " would be changed." in output(capsys, option)
    assert all_state() == []


def test_init_qdrant__check_without_a_collection__is_a_finding(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        call_command("init_qdrant", "--check")
    assert exited.value.code == 1
    assert f"  collection {version(1)!r}: missing, expected there (in place)\n" in capsys.readouterr().out
    assert all_state() == []


@pytest.mark.qdrant_server
def test_init_qdrant__check_names_each_difference(server: object, capsys: pytest.CaptureFixture[str]) -> None:
    initialize()
    with qdrant() as client:
        client.update_collection(version(1), hnsw_config=models.HnswConfigDiff(m=8))
        client.delete_payload_index(version(1), "age")
    with pytest.raises(SystemExit) as exited:
        call_command("init_qdrant", "--check")
    assert exited.value.code == 1
    differences = "  hnsw_config.m: 8, expected 16 (graph rebuild)\n  payload_schema.age: missing, expected integer (in place)\n"
    assert capsys.readouterr().out == f"{collection_name()} ({version(1)}): 2 differ.\n{differences}"
    assert (
        output(capsys) == f"{collection_name()} ({version(1)}): 2 to change.\n{differences}Done. The result was read back and compared.\n"
    )


def test_init_qdrant__check_as_json__has_every_comparison(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    initialize()
    reported = json.loads(output(capsys, "--check", "--json"))
    assert {name: reported[name] for name in ("alias", "collection", "embedded", "differences", "changed")} == {
        "alias": collection_name(),
        "collection": version(1),
        "embedded": store == "embedded",
        "differences": 0,
        "changed": False,
    }
    states = {one["what"]: one["state"] for one in reported["comparisons"]}
    server_state = "equal" if store == "server" else "not applicable"
    assert {states[what] for what in ("hnsw_config.m", "params.shard_number", "payload_schema.version")} == {server_state}
    assert {states[what] for what in (f"collection {version(1)!r}", "params.vectors.size", f"alias {collection_name()!r}")} == {"equal"}
    assert {"what": "params.vectors.size", "defined": 512, "live": 512, "state": "equal", "change": None} in reported["comparisons"]


def test_init_qdrant__plan_as_json__names_the_change_for_each_difference(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with qdrant() as client:
        client.create_collection(version(1), vectors_config=models.VectorParams(size=256, distance=COSINE))
    reported = json.loads(output(capsys, "--plan", "--json"))
    size = {"what": "params.vectors.size", "defined": 512, "live": 256, "state": "different", "change": "new collection"}
    assert size in reported["comparisons"]
    assert reported["refused"] == refused("init_qdrant")


def test_init_qdrant__json__has_status_and_differences(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    planned = json.loads(output(capsys, "--dry-run", "--json"))
    assert (planned["changed"], planned["differences"]) == (False, 3)
    first, second = (json.loads(output(capsys, "--json")) for _ in range(2))
    assert (first["changed"], first["status"], first["differences"]) == (True, "green", 3)
    assert (second["changed"], second["status"], second["differences"]) == (False, "green", 0)


def how_to_delete(store: str, settings: Settings, name: str) -> str:
    if store == "embedded":
        return f"delete the folder '{settings.QDRANT_PATH}'"
    return f"delete it (curl -X DELETE {settings.QDRANT_URL}/collections/{name})"


@pytest.mark.parametrize(
    ("vectors", "difference"),
    [
        (models.VectorParams(size=256, distance=COSINE), "params.vectors.size: 256, expected 512"),
        (models.VectorParams(size=512, distance=models.Distance.EUCLID), "params.vectors.distance: Euclid, expected Cosine"),
    ],
)
def test_init_qdrant__change_needs_a_new_collection__is_refused(
    store: str, vectors: models.VectorParams, difference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with qdrant() as client:
        client.create_collection(version(1), vectors_config=vectors)
    before = all_state()
    line = f"In {version(1)!r}, {difference} (new collection): nothing was changed. Build a new collection with manage.py reindex_qdrant."
    assert refused("init_qdrant") == line
    assert output(capsys, "--plan").endswith(f"\nIt would be refused. {line}\n")
    assert all_state() == before
    with pytest.raises(SystemExit):
        call_command("init_qdrant", "--check")


def test_init_qdrant__real_collection_has_the_name_of_the_alias__is_refused(store: str, settings: Settings) -> None:
    name = collection_name()
    with qdrant() as client:
        client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=COSINE))
    before = all_state()
    assert refused("init_qdrant") == (
        f"{name!r} is a real collection, but must be an alias: nothing was changed. Replace it with"
        " manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name, or, if its points are no longer needed,"
        f" {how_to_delete(store, settings, name)}; then run manage.py init_qdrant."
    )
    assert all_state() == before


def test_init_qdrant__check_and_adopt__exclude_each_other() -> None:
    assert (
        refused("init_qdrant", "--check", "--adopt")
        == "--check and --adopt exclude each other. Use --adopt --plan to see what --adopt would do."
    )


@pytest.mark.parametrize("arguments", [["--force"], ["--max-changes=3"], ["--check", "--force"]])
def test_init_qdrant__options_of_adopt__need_adopt(arguments: list[str]) -> None:
    assert refused("init_qdrant", *arguments) == "--force and --max-changes need --adopt. Add --adopt, or omit them."


def test_init_qdrant__alias_points_to_another_collection__is_refused(store: str) -> None:
    name, other = collection_name(), f"{collection_name()}_other"
    with qdrant() as client:
        client.create_collection(other, vectors_config=models.VectorParams(size=512, distance=COSINE))
        alias = models.CreateAlias(collection_name=other, alias_name=name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    before = all_state()
    assert refused("init_qdrant") == (
        f"The alias {name!r} points to {other!r}, which is not one of {name}_v1, _v2 and so on:"
        " delete the alias, or set QDRANT_COLLECTION to another name, then run manage.py init_qdrant."
    )
    assert all_state() == before


def test_init_qdrant__invalid_url__is_one_line(settings: Settings) -> None:
    settings.QDRANT_URL = "127.0.0.1:6333"
    for arguments in ([], ["--check"], ["--plan"], ["--adopt"]):
        assert refused("init_qdrant", *arguments).startswith("QDRANT_URL is '127.0.0.1:6333', without a scheme")


@pytest.mark.qdrant_server
def test_initialize__qdrant_ignores_a_change__is_reported(server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qdrant accepts several changes without making them."""
    initialize()
    with qdrant() as client:
        client.update_collection(version(1), hnsw_config=models.HnswConfigDiff(m=8))
    monkeypatch.setattr(SyncCollectionsApi, "update_collection", lambda *_args, **_options: SimpleNamespace(result=True))
    with pytest.raises(UserFacingError) as raised:
        initialize()
    assert str(raised.value) == (
        "Qdrant accepted all changes, but hnsw_config.m: 8, expected 16 (graph rebuild). Check Qdrant's log, then run manage.py init_qdrant again."
    )


@pytest.mark.qdrant_server
def test_init_qdrant__graphs_are_still_being_built__is_reported(
    server: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = QdrantClient.get_collection

    def still_yellow(client: QdrantClient, name: str) -> models.CollectionInfo:
        found = read(client, name)
        found.status = models.CollectionStatus.YELLOW
        return found

    monkeypatch.setattr(QdrantClient, "get_collection", still_yellow)
    with pytest.raises(SystemExit) as exited:
        call_command("init_qdrant", "--wait", "0.2")
    assert exited.value.code == 1
    assert capsys.readouterr().err == f"{version(1)} is still yellow after 0.2 s. Qdrant continues in the background.\n"


@pytest.mark.qdrant_server
def test_initialize__grey_collection__sends_an_empty_change(server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was restarted while it built graphs stays grey until it receives a change of the optimizers."""
    initialize()
    read, update = QdrantClient.get_collection, QdrantClient.update_collection
    updates: list[object] = []

    def grey_until_updated(client: QdrantClient, name: str) -> models.CollectionInfo:
        found = read(client, name)
        found.status = found.status if updates else models.CollectionStatus.GREY
        return found

    def record_update(client: QdrantClient, name: str, **changes: object) -> bool:
        updates.append(changes)
        return update(client, name, **changes)  # type: ignore[arg-type]  # passes the settings through

    monkeypatch.setattr(QdrantClient, "get_collection", grey_until_updated)
    monkeypatch.setattr(QdrantClient, "update_collection", record_update)
    assert initialize().status == "green"
    assert updates == [{"optimizers_config": models.OptimizersConfigDiff()}]
    assert compare().differences == []


@pytest.mark.qdrant_server
def test_initialize__red_collection__is_reported(server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    initialize()
    read = QdrantClient.get_collection

    def red(client: QdrantClient, name: str) -> models.CollectionInfo:
        found = read(client, name)
        found.status = models.CollectionStatus.RED
        found.optimizer_status = models.OptimizersStatusOneOf1(error="no space left")
        return found

    monkeypatch.setattr(QdrantClient, "get_collection", red)
    with pytest.raises(UserFacingError) as raised:
        initialize()
    assert str(raised.value) == f"Qdrant reports the collection {version(1)!r} as red (no space left). Check Qdrant's log."


def test_initialize__calls_on_plan_before_it_changes_anything(store: str) -> None:
    plans: list[Plan] = []

    def on_plan(planned: Plan) -> None:
        assert all_state() == []
        plans.append(planned)

    result = initialize(on_plan=on_plan)
    assert plans == [result.planned]
    assert (result.status, result.green) == ("green", True)


def test_initialize__another_process_holds_the_lock__is_refused_after_the_timeout(embedded_qdrant: object, settings: Settings) -> None:
    settings.MIGRATE_WAIT_SECONDS = 0.2
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock_key()])
        with pytest.raises(UserFacingError) as raised:
            initialize()
    finally:
        other.close()
    assert str(raised.value) == (
        "Another process has been changing the collections of 'profile_embeddings' for 0.2 s: wait for it, then run it again."
    )
    assert compare().differences
    initialize()
    assert not compare().differences


@pytest.mark.at_length("embedded")
@pytest.mark.django_db(transaction=True)
def test_init_qdrant__two_at_once__both_succeed(store: str) -> None:
    results = [ended(process) for process in [started("init_qdrant"), started("init_qdrant")]]
    assert [(code, stderr) for code, _, stderr in results] == [(0, ""), (0, "")]
    assert sorted("nothing to do" in stdout for _, stdout, _ in results) == [False, True]


KILLED = """
import sys
from qdrant_client import QdrantClient
from qdrant_client.http.api.collections_api import SyncCollectionsApi
from qdrant_client.http.api.indexes_api import SyncIndexesApi
from tests.support.killing import kill_at_call
from vectorstore.schema import apply as applying
from vectorstore.schema.initialize import initialize

steps = [
    (QdrantClient, "create_collection"), (SyncCollectionsApi, "create_collection"), (SyncIndexesApi, "create_field_index"),
    (applying, "register_as_live"), (QdrantClient, "update_collection_aliases"),
]
kill_at_call(steps, int(sys.argv[1]))
initialize()
"""


@pytest.mark.at_length(every=4)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        *(("embedded", steps) for steps in (0, 1, 2)),
        *(pytest.param("server", steps, marks=pytest.mark.qdrant_server) for steps in (1, 5, 9, 10)),
    ],
)
def test_init_qdrant__killed_at_any_step__resumes(
    kind: str, steps: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Afterwards the collection is as defined, and all users are queued."""
    request.getfixturevalue(f"{kind}_qdrant" if kind == "embedded" else f"qdrant_{kind}")
    user = ProfileEmbeddingFactory.create().pk
    QueueEntry.objects.all().delete()
    assert run_python(KILLED, steps)[0] == -signal.SIGKILL
    with qdrant() as client:
        assert plan(client).differences
        assert client.collection_exists(version(1)) is (steps > 0)
        assert not client.collection_exists(collection_name())
    assert "\nDone. The result was read back and compared.\n" in output(capsys)
    assert not compare().differences
    assert QueueEntry.objects.filter(user_id=user).count() == 1


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_init_qdrant__as_a_process__has_its_exit_codes(embedded_qdrant: object) -> None:
    assert manage("init_qdrant", "--check")[::2] == (1, "")
    with qdrant() as client:
        client.create_collection(version(1), vectors_config=models.VectorParams(size=256, distance=COSINE))
    code, stdout, stderr = manage("init_qdrant")
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("wait", ["nan", "inf", "-5"])
def test_init_qdrant__invalid_wait__is_refused(wait: str, store: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("init_qdrant", f"--wait={wait}")
    assert str(raised.value) == f"Error: argument --wait: {wait!r} is not a number of seconds, 0 or more"
    assert all_state() == []


def test_initialize__registers_the_collection_and_queues_all_users(every_store: str) -> None:
    user = ProfileEmbeddingFactory.create().pk
    QueueEntry.objects.all().delete()
    initialize()
    row = VectorCollection.objects.get()
    assert (row.name, row.state, row.alias) == (version(1), "live", collection_name())
    assert list(QueueEntry.objects.values_list("user_id", flat=True)) == [user]
    with qdrant() as client:
        reported = client.get_collection(version(1)).config.metadata
    assert reported == metadata_of(row)
    initialize()
    assert QueueEntry.objects.count() == 1


@pytest.mark.parametrize("steps", ["registered", "unregistered"])
def test_initialize__collection_is_created_again__queues_all_users(store: str, steps: str) -> None:
    user = ProfileEmbeddingFactory.create().pk
    initialize()
    if steps == "unregistered":
        VectorCollection.objects.all().delete()
    QueueEntry.objects.all().delete()
    with qdrant() as client:
        client.delete_collection(version(1))
    initialize()
    assert list(QueueEntry.objects.values_list("user_id", flat=True)) == [user]


@pytest.mark.django_db(transaction=True)
def test_initialize__collection_was_deleted_by_hand__is_filled_again(store: str) -> None:
    """The new collection is not reported as a restored store."""
    users = {str(ProfileEmbeddingFactory.create().pk) for _ in range(3)}
    initialize()
    sync_once(timeout=20)
    with qdrant() as client:
        assert checkpoint.reset_checkpoint(client)
        client.delete_collection(version(1))
    initialize()
    result = sync_once(timeout=20)
    assert (result.written, result.remaining.length, result.unavailable) == (3, 0, None)
    with qdrant() as client:
        assert {record.id for record in client.scroll(collection_name())[0]} == users
        checkpoint.compare_checkpoints(client)


@pytest.mark.django_db(transaction=True)
def test_init_qdrant__killed_with_an_unregistered_collection__keeps_it(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection belongs to this database, but its row and the alias are lost. No idle worker drops it."""
    user = ProfileEmbeddingFactory.create().pk
    initialize()
    sync_once(timeout=20)
    VectorCollection.objects.all().delete()
    with qdrant() as client:
        client.update_collection(version(1), metadata={"findme_definition": None})
        alias = models.DeleteAlias(alias_name=collection_name())
        client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=alias)])

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vectorstore.schema.apply.metadata_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            initialize()
    assert registry.expired() == []
    initialize()
    assert compare().differences == []
    with qdrant() as client:
        assert [record.id for record in client.scroll(collection_name())[0]] == [str(user)]


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_reindex__change_needs_a_new_collection__makes_it(qdrant_server: object, settings: Settings) -> None:
    ProfileEmbeddingFactory.create_batch(3)
    initialize()
    sync_once(timeout=20)
    settings.QDRANT_SHARD_NUMBER = 2
    assert refused("init_qdrant").endswith("with manage.py reindex_qdrant.")
    reindex()
    assert compare().differences == []
    with qdrant() as client:
        found = client.get_collection(collection_name())
    assert (found.config.params.shard_number, found.points_count) == (2, 3)
