"""A restored database is made fit to serve: after another tool has restored PostgreSQL, and as a part of a restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils.timezone import now

from accounts.models import User
from backups.models import Backup, BackupVerification
from backups.restored import end_verifications, name_destinations
from privacy.actions.erase import erase
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.collections import version
from tests.support.commands import manage_here
from tests.support.restored import restorable_postgres
from tests.support.users import create_synced_users
from vectorstore.catalog.ownership import database_id
from vectorstore.models import StoreState, VectorCollection
from vectorstore.qdrant.errors import RestoreDetected
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users
from vectorstore.sync.worker import sync_once

COMMAND = "prepare_restored_database"


@pytest.fixture
def prepared(embedded_qdrant: Path) -> list[Any]:
    """Create a collection with two points, and one of each thing that belongs to the time of the backup."""
    initialize()
    users = create_synced_users(2)
    UserFactory.create(superuser=True)
    Session.objects.create(session_key="a", session_data="", expire_date="2030-01-01T00:00:00Z")
    AccessAttempt.objects.create(username="a", ip_address="192.0.2.1", failures_since_start=1)
    return users


def add_backup(destination: str, **columns: Any) -> None:
    time = "2026-01-01T00:00:00Z"
    facts: dict[str, Any] = {"database": "a", "taken_at": time, "ended_at": time, "is_complete": True, "is_encrypted": True, "size": 1}
    Backup.objects.create(destination=destination, name="a", **facts | columns)


@pytest.mark.django_db
def test_backups__their_destinations_are_named() -> None:
    assert name_destinations() == "The table of backups is empty: run manage.py list_backups for each destination."
    add_backup("/b")
    add_backup("/a")
    add_backup("/gone", gone_at="2026-01-02T00:00:00Z")
    assert name_destinations() == "Run manage.py list_backups for each destination, also for newer ones: /a, /b."


@pytest.mark.django_db
def test_verifications__those_that_ran_are_ended() -> None:
    """Otherwise one would count as a copy of erased users until the next deep verification."""
    values = {"destination": "/backups", "database": "1/findme", "taken_at": now(), "is_complete": True}
    BackupVerification.objects.create(name="running", **values)
    BackupVerification.objects.create(name="done", finished_at=now(), **values)
    assert end_verifications() == "1 deep verification was ended."
    assert end_verifications() == ""
    assert list(BackupVerification.objects.order_by("name").values_list("name", "error")) == [
        ("done", ""),
        ("running", "The database was restored meanwhile."),
    ]


@pytest.mark.django_db
def test_dry_run__changes_nothing(prepared: list[Any]) -> None:
    code, out, _ = manage_here(COMMAND, "--dry-run")
    assert code == 0
    assert out.splitlines()[0] == "This would happen:"
    assert "1 account with rights was disabled." in out and "1 session was ended." in out
    assert User.objects.filter(unconfirmed_at=None).count() == 3
    assert (Session.objects.count(), VectorCollection.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_command__asks_first(prepared: list[Any]) -> None:
    code, _, error = manage_here(COMMAND)
    assert (code, error) == (2, "The standard input is not a terminal: nothing was changed. In a script, add --no-input.\n")
    assert Session.objects.count() == 1


@pytest.mark.django_db
def test_command__ends_everything_and_says_what_to_run(prepared: list[Any]) -> None:
    code, out, _ = manage_here(COMMAND, "--no-input")
    assert code == 0
    assert out.splitlines()[-2:] == [
        f"The collection {version(1)} is live.",
        "Run manage.py replay_erasures, and then manage.py verify_qdrant --repair. No worker writes before that.",
    ]
    assert not Session.objects.exists() and not AccessAttempt.objects.exists()
    assert not any(user.is_active for user in User.objects.filter(is_superuser=True))
    again = json.loads(manage_here(COMMAND, "--no-input", "--json")[1])
    assert (again["dry_run"], again["live"], again["retained"], again["others"]) == (False, version(1), [], [])
    assert again["ended"] == [
        "No search is served until replay_erasures has ended.",
        "1 collection of the time of the backup was forgotten.",
        "The table of backups is empty: run manage.py list_backups for each destination.",
    ]


@pytest.mark.django_db
def test_copy__gets_an_id_of_its_own_and_owns_nothing(prepared: list[Any]) -> None:
    before = database_id()
    _, out, _ = manage_here(COMMAND, "--no-input", "--copy")
    assert out.splitlines()[-2:] == [
        f"The collection {version(1)} is not this database's, and is not touched.",
        "Set QDRANT_COLLECTION and ERASURE_LEDGER_URL to values of its own. Then run manage.py init_qdrant.",
    ]
    assert database_id() != before
    assert StoreState.current().checkpoint is None


@pytest.mark.django_db
def test_command__without_a_collection__names_init_qdrant(embedded_qdrant: Path) -> None:
    _, out, _ = manage_here(COMMAND, "--no-input")
    assert out.splitlines()[-1] == "Run manage.py init_qdrant, manage.py replay_erasures, and then manage.py verify_qdrant --repair."


@pytest.mark.django_db
def test_command__while_qdrant_is_unavailable__is_run_again(prepared: list[Any], settings: Any) -> None:
    path, settings.QDRANT_URL = settings.QDRANT_PATH, "http://127.0.0.1:9"
    assert manage_here(COMMAND, "--no-input")[0] == 2
    settings.QDRANT_URL, settings.QDRANT_PATH = "", path
    assert manage_here(COMMAND, "--no-input")[0] == 0
    assert VectorCollection.objects.get().state == "live"


@pytest.mark.django_db(transaction=True)
def test_postgresql_restored_by_another_tool__both_stores_agree_without_erased_users(embedded_qdrant: Path) -> None:
    """The whole way: restored with pg_restore, prepared, replayed, repaired."""
    initialize()
    stays, erased = create_synced_users(2)
    UserFactory.create(superuser=True, email="dismissed@example.org")
    with restorable_postgres(dumped=True) as restore:
        User.objects.filter(email="dismissed@example.org").delete()
        erase(erased)
        later = ProfileEmbeddingFactory.create().pk
        sync_users([later])
        restore()
        assert User.objects.filter(pk=erased).exists()
        assert manage_here(COMMAND, "--no-input")[0] == 0
        with pytest.raises(RestoreDetected):  # no worker writes before the repair
            sync_once()
        assert point_of(erased) is None
        assert manage_here("replay_erasures")[0] == 0
        manage_here("verify_qdrant", "--repair")
        sync_once()
        assert manage_here("verify_qdrant")[0] == 0
        assert not User.objects.filter(pk=erased).exists()
        assert (point_of(stays) is not None, point_of(erased), point_of(later)) == (True, None, None)
        assert not User.objects.get(email="dismissed@example.org").is_active
        connection.close()
