"""``flush`` removes the users and keeps the state of the stores. The next sync empties the collection."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from findme.environment import BASE_DIR
from tests.factories import unit_vector
from tests.schema.rows import ask
from tests.support.commands import environment, manage_here, refused
from tests.support.users import create_users
from tests.vectorstore.sync.points import ids, points, queued
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import database_id
from vectorstore.models import ProfileEmbedding, QuarantinedUser, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def synced(store: str) -> None:
    initialize()
    users = create_users(3)
    sync_once()
    assert points() == ids(users)


def flush() -> None:
    call_command("flush", interactive=False, verbosity=0)


def test_flush__keeps_the_state_of_the_stores(synced: None) -> None:
    before = database_id(), StoreState.current().checkpoint, list(VectorCollection.objects.values())
    QuarantinedUser.objects.create(user_id=User.objects.values_list("pk", flat=True)[0], reason="", collection="")
    flush()
    assert (database_id(), StoreState.current().checkpoint, list(VectorCollection.objects.values())) == before
    assert not (User.objects.exists() or ProfileEmbedding.objects.exists() or QuarantinedUser.objects.exists())
    assert queued() > 0


def test_flush__next_sync__empties_the_collection(synced: None, capsys: pytest.CaptureFixture[str]) -> None:
    flush()
    call_command("sync_qdrant", "--once")
    assert capsys.readouterr().out.endswith("0 points written, 3 removed.\n")
    assert points() == set()
    assert verify().clean


def test_flush__every_command_runs_without_findings(synced: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the next sync, points without a user are pending, and no search finds them."""
    (tmp_path / "vector.json").write_text(json.dumps(unit_vector(1)))
    flush()
    for _ in range(2):
        capsys.readouterr()
        call_command("search_profiles", "--vector", str(tmp_path / "vector.json"), "--json")
        assert json.loads(capsys.readouterr().out) == []
        call_command("init_qdrant", "--check")
        call_command("init_qdrant")
        call_command("verify_qdrant")
        call_command("sync_qdrant", "--once")
    call_command("reindex_qdrant")
    assert registry.live() == f"{collection_name()}_v2"
    assert verify().clean
    users = create_users(2)
    sync_once()
    assert points() == ids(users)
    assert verify().clean


def test_truncate__of_the_state__every_command_names_the_adoption(synced: None) -> None:
    """Without its state, the database has a new id, and the collection belongs to another database."""
    ask("TRUNCATE users CASCADE")
    ask("TRUNCATE vector_store_state, vector_collections, vector_sync_leases")
    line = f"The collection '{collection_name()}_v1' belongs to another database ("
    for command in ("sync_qdrant", "init_qdrant", "verify_qdrant", "reindex_qdrant"):
        message = refused(command)
        assert message.startswith(line)
        assert "Adopt it with manage.py init_qdrant --adopt" in message
    call_command("init_qdrant", "--adopt")
    call_command("sync_qdrant", "--once")
    assert points() == set()
    assert verify().clean


def test_sqlflush__prints_the_statements_of_flush(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sqlflush")
    printed = capsys.readouterr().out
    assert '"users"' in printed and '"vector_sync_quarantine"' in printed
    assert "vector_store_state" not in printed and "vector_sync_queue" not in printed


def test_flush__in_production__is_refused(settings: Settings) -> None:
    create_users(1)
    settings.FLUSH_ALLOWED = False
    code, out, err = manage_here("flush", "--no-input")
    assert (code, out) == (2, "")
    assert err == (
        "flush deletes the data of all users, and DEBUG is off: nothing was changed."
        " To erase a user, run manage.py erase_user USER --hard. To empty a copy for development, set DEBUG=on.\n"
    )
    assert User.objects.exists()


@pytest.mark.parametrize("debug", ["on", "off"])
def test_flush__is_allowed_by_the_debug_of_the_environment(debug: str) -> None:
    """Django's test runner sets ``settings.DEBUG`` to False, whatever the environment says."""
    code = "from django.conf import settings; print(settings.FLUSH_ALLOWED)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=environment() | {"DEBUG": debug, "SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "example.org"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{debug == 'on'}\n"
