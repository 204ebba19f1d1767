"""A full ``dumpdata``, loaded into a new database with an empty Qdrant. ``verify_qdrant`` then finds no difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.support import commands
from tests.support.commands import manage
from tests.support.database import Database, database
from tests.support.staff import staff
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.consistency import preflight
from vectorstore.models import ProfileEmbedding, StoreState
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]

TABLES = ("users", "videos", "matches", "video_calls", "profile_embeddings", "auth_group", "users_groups", "django_admin_log")
EXCLUDED_COLUMNS = "'created_at', 'updated_at', 'deleted_at', 'expires_at', 'started_at', 'ended_at', 'action_time', 'content_type_id'"
NAMED = """
    SELECT g.name || ' ' || p.codename FROM auth_group g JOIN auth_group_permissions gp ON gp.group_id = g.id
    JOIN auth_permission p ON p.id = gp.permission_id
    UNION ALL SELECT c.model || ' ' || l.object_id FROM django_admin_log l JOIN django_content_type c ON c.id = l.content_type_id
    ORDER BY 1
"""


@pytest.fixture
def source(store: str) -> None:
    """Create rows in every table, points, a checkpoint in both stores, and queue entries."""
    at = {"created_at": datetime(2026, 1, 5, 9, tzinfo=UTC)}
    initialize()
    embedded = ProfileEmbeddingFactory.create_batch(4, user__created_at=at["created_at"])
    ProfileEmbeddingFactory.create(user__deleted=True)
    for embedding in embedded[:2]:
        video = VideoFactory.create(user=embedding.user)
        User.objects.filter(pk=embedding.pk).update(video=video)
    VideoCallFactory.create(match=MatchFactory.create(user=embedded[0].user, matched_user=embedded[1].user))
    user = staff("accounts.view_user")
    editors = Group.objects.create(name="Editors")
    editors.permissions.add(Permission.objects.get(codename="view_user"), Permission.objects.get(codename="view_videocall"))
    user.groups.add(editors)
    content_type = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(user=user, content_type=content_type, object_id=str(user.pk), action_flag=CHANGE, change_message="")
    Session.objects.create(session_key="a-login", session_data="", expire_date=datetime(2100, 1, 1, tzinfo=UTC))
    sync_once()
    with qdrant() as client:
        preflight.check_stores(client)
    assert StoreState.current().checkpoint is not None
    UserFactory.create()
    User.objects.filter(pk=embedded[3].pk).update(active=False)


@contextmanager
def another_database(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Database]:
    """Create a database with an empty vector store: another folder, or another alias on the server."""
    with database() as target, monkeypatch.context() as patched:
        settings.QDRANT_COLLECTION, settings.QDRANT_PATH = f"{settings.QDRANT_COLLECTION}_too", str(folder / "another store")
        environment = commands.environment() | {"DATABASE_URL": target.url()}
        patched.setattr(commands, "environment", lambda: environment)
        yield target


def rows(ask: Callable[[str], list[Any]]) -> dict[str, list[Any]]:
    """Return the rows as text, without ids that differ between databases, and without times: JSON rounds them to milliseconds."""
    return {
        table: ask(
            f"SELECT (to_jsonb(t) - ARRAY[{EXCLUDED_COLUMNS}] - CASE WHEN '{table}' = 'users_groups' THEN 'id' ELSE '' END)::text FROM {table} t ORDER BY 1"
        )
        for table in TABLES
    }


def query(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]


@pytest.mark.at_length
def test_loaddata__full_dump_in_a_new_database__syncs_without_differences(
    source: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dump = tmp_path / "all.json"
    code, out, err = manage("dumpdata", "--output", dump)
    assert (code, out) == (0, "")
    assert err.startswith("Left out because they belong to this database: ")
    user_count, source_id = ProfileEmbedding.objects.filter(user__deleted_at=None).count(), database_id()
    with another_database(settings, monkeypatch, tmp_path) as target:
        assert manage("migrate", "--verbosity", "0")[0] == 0
        # Other migrations in another order would give other ids. Nothing may depend on them.
        target.execute(
            "BEGIN; UPDATE auth_permission SET id = id + 1000, content_type_id = content_type_id + 1000;"
            " UPDATE django_content_type SET id = id + 1000; COMMIT"
        )
        code, out, err = manage("loaddata", dump)
        assert (code, err) == (0, ""), err
        assert rows(target.query) == rows(query)
        assert target.query(NAMED) == query(NAMED)
        assert target.query("SELECT count(*) FROM django_session") == [0]
        target_id = target.query("SELECT database_id::text FROM vector_store_state") or [None]
        assert target_id[0] != source_id
        assert manage("init_qdrant")[0] == 0
        code, out, err = manage("sync_qdrant", "--once")
        assert (code, err) == (0, ""), err
        assert out.splitlines()[-1] == f"{user_count} points written, 0 removed."
        code, out, err = manage("verify_qdrant")
        assert code == 0, out + err
        assert f"{user_count} points of {user_count} users, no differences." in out
        assert manage("init_qdrant", "--check")[0] == 0
        with qdrant() as client:
            (owner,) = {
                (client.get_collection(one.collection_name).config.metadata or {})[DATABASE]
                for one in client.get_aliases().aliases
                if one.alias_name == settings.QDRANT_COLLECTION
            }
        assert owner == target.query("SELECT database_id::text FROM vector_store_state")[0]


@pytest.mark.at_length
def test_loaddata__dump_with_the_state_of_another_database__is_refused(
    source: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Django's own ``dumpdata`` writes such a dump. The new database stays usable."""
    dump = tmp_path / "all.json"
    script = (
        "import sys\nfrom django.core.management import call_command\nfrom django.core.management.commands.dumpdata import Command\n"
        "call_command(Command(), output=sys.argv[1])"
    )
    code, _out, err = commands.run_python(script, dump)
    assert code == 0, err
    with another_database(settings, monkeypatch, tmp_path) as target:
        assert manage("migrate", "--verbosity", "0")[0] == 0
        code, out, err = manage("loaddata", dump)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "must not be copied to another database" in err
        assert "Nothing was changed" in err
        assert target.query("SELECT count(*) FROM users") == [0]
        assert manage("init_qdrant")[0] == 0
        assert manage("sync_qdrant", "--once") == (0, "Nothing to do.\n", "")
