"""Privacy actions with both stores: PostgreSQL, and Qdrant embedded and on a server."""

import json
import signal
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from qdrant_client import QdrantClient

from accounts.models import User
from findme.core.errors import StoreUnavailable
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.export import export_user_data
from privacy.actions.stores import DeletionUnconfirmed
from privacy.declarations import Disposition
from privacy.registry import Effect, Store, registry
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.audit import audited
from tests.privacy.life import WORDS, full_life, working_life
from tests.privacy.process import stopped_before_the_commit
from tests.support.commands import manage, manage_here
from tests.support.dumps import dump
from tests.support.payloads import payload_of
from tests.support.sessions import another_connection, is_user_locked
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding, QueueEntry
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users

pytestmark = pytest.mark.django_db(transaction=True)

GONE = Effect("points in the vector store", 1, Disposition.DELETED)
REMOVALS = [anonymize, erase, soft_delete]


def user_with_a_point() -> User:
    person = ProfileEmbeddingFactory.create().user
    assert sync_users([person.pk]).written == 1
    return person


def the_store() -> Store:
    (store,) = registry.stores
    return store


# --- Results ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", REMOVALS)
def test_removals__delete_the_point_and_keep_others(collection: str, remove: Callable[[UUID], Any]) -> None:
    person, other = user_with_a_point(), user_with_a_point()
    assert GONE in remove(person.pk).effects
    assert point_of(person.pk) is None
    assert point_of(other.pk) is not None


def test_anonymize__deletes_the_embedding(collection: str) -> None:
    person = user_with_a_point()
    assert Effect("embeddings", 1, Disposition.DELETED) in anonymize(person.pk).effects
    assert not ProfileEmbedding.objects.exists()


def test_soft_delete__keeps_the_embedding(collection: str) -> None:
    person = user_with_a_point()
    assert Effect("embeddings", 1, Disposition.KEPT) in soft_delete(person.pk).effects
    assert ProfileEmbedding.objects.filter(pk=person.pk).exists()


def test_erase__remaining_point(collection: str) -> None:
    person = user_with_a_point()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [person.pk])
    assert point_of(person.pk) is not None
    outcome = erase(person.pk)
    assert (outcome.changed, outcome.effects) == (False, (GONE,))
    assert point_of(person.pk) is None


def test_export__has_the_row_and_the_point(collection: str, tmp_path: Path) -> None:
    person = user_with_a_point()
    export_user_data(person.pk, tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        exported = json.loads(archive.read("vector_store.json"))
    embedding = ProfileEmbedding.objects.select_related("user").get(pk=person.pk)
    assert exported["embedding"].keys() == {field.column for field in ProfileEmbedding._meta.concrete_fields}
    assert exported["embedding"]["vector"] == embedding.vector
    payload = exported["point"]["payload"]
    assert payload == payload_of(embedding.user, embedding) | {"version": payload["version"]}
    assert exported["point"]["vector"] == pytest.approx(embedding.vector, abs=1e-6)


def test_export__an_orphan(collection: str, tmp_path: Path) -> None:
    person = UserFactory.create()
    export_user_data(person.pk, tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert json.loads(archive.read("vector_store.json")) == {"embedding": None, "point": None}


# --- Residual data in PostgreSQL --------------------------------------------------------------------------------------------------


def test_anonymize__pg_dump_has_no_data_of_the_user(collection: str) -> None:
    person = full_life()
    working_life(person)
    sync_users([person.pk])
    before = dump()
    assert all(word in before for word in WORDS)
    anonymize(person.pk)
    after = dump()
    assert [word for word in WORDS if word in after] == []
    assert str(person.pk) in after
    assert str(ProfileEmbedding._meta.db_table) in after


def test_erase__pg_dump_has_the_id_only_in_proofs_and_logs(collection: str) -> None:
    person = full_life()
    working_life(person)
    erase(person.pk)
    QueueEntry.objects.all().delete()  # as a worker does after it has seen that no point of the user is left
    after = dump()
    assert [word for word in WORDS if word in after] == []
    rows = [line.split("\t") for line in after.splitlines() if str(person.pk) in line]
    columns = [[index for index, value in enumerate(row) if value == str(person.pk)] for row in rows]
    # The key of erased_users; user_id of erasures; object_id and object_repr of the admin's log; target_id of the audit log.
    assert sorted(columns) == [[0], [1], [2, 3], [5]]


def words_in_statistics() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(pg_stats::text, ' ') FROM pg_stats WHERE schemaname = 'public'")
        (statistics,) = cursor.fetchone()
    return [word for word in WORDS if word in statistics]


def test_anonymize__next_analyze_removes_values_from_the_statistics(embedded_qdrant: Path) -> None:
    """Until then single values stay in pg_statistic, which pg_dump leaves out (docs/privacy.md)."""
    initialize()
    person = full_life()
    ProfileEmbeddingFactory.create()  # ANALYZE keeps the statistics of an empty table
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        assert words_in_statistics()
        anonymize(person.pk)
        cursor.execute("ANALYZE")
    assert words_in_statistics() == []


# --- Unavailable ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", [anonymize, erase])
def test_removals__without_a_collection__change_nothing(store: str, remove: Callable[[UUID], Any]) -> None:
    person = ProfileEmbeddingFactory.create().user
    before = list(User.objects.values())
    with pytest.raises(StoreUnavailable, match=r"make it with manage.py init_qdrant"):
        remove(person.pk)
    assert list(User.objects.values()) == before
    assert ProfileEmbedding.objects.exists()


@pytest.mark.parametrize("remove", [anonymize, erase])
def test_removals__point_outlives_its_deletion__outcome_is_unknown(
    collection: str, remove: Callable[[UUID], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qdrant has confirmed the deletion. It may still make it, so no entry may say that the removal failed."""
    person = user_with_a_point()
    before = list(User.objects.values())
    with monkeypatch.context() as patched:
        patched.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
        with pytest.raises(
            DeletionUnconfirmed, match=rf"^The point of '{person.pk}' is still in .* PostgreSQL is unchanged, but the vector store"
        ):
            remove(person.pk)
    assert [outcome for *_, outcome in audited()] == ["unknown"]
    assert list(User.objects.values()) == before
    assert remove(person.pk).changed
    assert point_of(person.pk) is None


def test_commands__qdrant_unavailable(settings: Any, tmp_path: Path) -> None:
    """Two of the commands change nothing, and the soft deletion is done."""
    settings.QDRANT_URL = "http://127.0.0.1:9"
    person = full_life()
    before = list(User.objects.order_by("pk").values())
    for arguments in (["export_user", person.pk, "--output", tmp_path / "export.zip"], ["anonymize_user", person.pk, "--no-input"]):
        code, out, err = manage_here(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("Nothing answers at QDRANT_URL 'http://127.0.0.1:9'")
        assert err.count("\n") == 1
    assert list(User.objects.order_by("pk").values()) == before
    assert list(tmp_path.iterdir()) == []
    code, out, err = manage_here("erase_user", person.pk, "--soft", "--no-input")
    assert code == 1
    assert out.startswith(f"{person.pk} is deleted softly.\n")
    assert err.endswith(f"When it is available, run: manage.py erase_user {person.pk} --soft --no-input\n")
    assert not User.objects.alive().filter(pk=person.pk).exists()


@pytest.mark.at_length
@pytest.mark.long
def test_commands__as_processes__one_after_another(embedded_qdrant: Path, tmp_path: Path) -> None:
    """Run real processes and check their output and their result."""
    initialize()
    person = full_life()
    sync_users([person.pk])
    path = tmp_path / "export.zip"
    assert manage("export_user", person.email, "--output", path)[0] == 0
    assert zipfile.is_zipfile(path)
    assert manage("anonymize_user", person.email, "--no-input")[0] == 0
    assert point_of(person.pk) is None
    erase(person.pk)
    code, out, err = manage("erase_user", person.pk, "--hard", "--no-input")
    assert (code, out) == (2, "")
    assert err == f"Neither PostgreSQL nor the vector store has a user with the id '{person.pk}'.\n"


# --- Concurrent and killed --------------------------------------------------------------------------------------------------------


def is_queued(user_id: UUID) -> bool:
    """Return whether other sessions see an entry of the user."""
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE user_id = %s)", [user_id])
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("remove", REMOVALS)
def test_removals__wait_for_a_running_sync(collection: str, remove: Callable[[UUID], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync has read the user's rows, has not written, and holds the user. A removal must wait for it."""
    person = ProfileEmbeddingFactory.create().user
    points_of = import_module("vectorstore.sync.writer").points_of
    asked: list[bool] = []
    store = the_store()
    session = store.session

    def session_too() -> AbstractContextManager[None]:
        asked.append(True)
        return session()

    monkeypatch.setattr(store, "session", session_too)

    def write_late(*arguments: Any) -> Any:
        points = points_of(*arguments)
        removing.append(in_thread(lambda: remove(person.pk)))
        # The sync holds the embedded store. On a server it leases the user, and the removal blocks other workers.
        wait_until(lambda: asked and (collection == "embedded" or is_user_locked(person.pk)), "The removal begins")
        return points

    removing: list[Any] = []
    monkeypatch.setattr("vectorstore.sync.writer.points_of", write_late)
    assert sync_users([person.pk]).written == 1
    assert GONE in removing[0].result().effects
    assert point_of(person.pk) is None


@pytest.mark.parametrize("remove", REMOVALS)
def test_removals__sync_that_begins_before_the_commit__writes_nothing(
    collection: str, remove: Callable[[UUID], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync skips the user until the commit. Then it finds no row and writes nothing."""
    person = user_with_a_point()
    store = the_store()
    remove_point = store.remove
    begun: list[bool] = []
    projecting: list[Any] = []

    def project_too() -> Any:
        begun.append(True)
        return sync_users([person.pk])

    def remove_and_project(user_id: UUID) -> bool:
        removed = remove_point(user_id)
        projecting.append(in_thread(project_too))
        wait_until(lambda: begun and (collection == "embedded" or is_queued(person.pk)), "The projection begins")
        return removed

    monkeypatch.setattr(store, "remove", remove_and_project)
    assert GONE in remove(person.pk).effects
    assert projecting[0].result().written == 0
    assert point_of(person.pk) is None


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("remove", [anonymize, erase])
def test_removals__killed_after_the_deletion_of_the_point(collection: str, remove: Callable[[UUID], Any]) -> None:
    """The user is unchanged except for the point, which a sync writes again. The next attempt succeeds."""
    person = user_with_a_point()
    before, point = list(User.objects.values()), point_of(person.pk)
    with stopped_before_the_commit(remove, person.pk) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
    assert list(User.objects.values()) == before
    assert ProfileEmbedding.objects.filter(pk=person.pk).exists()
    assert point_of(person.pk) is None
    assert sync_users([person.pk]).written == 1
    assert without_version(point_of(person.pk)) == without_version(point)
    assert remove(person.pk).changed
    assert point_of(person.pk) is None


def without_version(point: dict[str, Any] | None) -> dict[str, Any]:
    """Return ``point`` without its version."""
    assert point is not None
    return point | {"payload": {name: value for name, value in point["payload"].items() if name != "version"}}


@pytest.mark.at_length
def test_removals__not_killed__commits(embedded_qdrant: Path) -> None:
    """The same process commits if it may continue."""
    initialize()
    person = user_with_a_point()
    with stopped_before_the_commit(erase, person.pk) as child:
        output, _ = child.communicate("continue\n", timeout=60)
    assert output == "committed\n"
    assert not User.objects.exists()
