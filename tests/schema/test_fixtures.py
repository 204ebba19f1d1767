"""``dumpdata`` and ``loaddata`` copy every row, with generated columns, deferred keys and the circle of users and videos."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.schema.rows import ask, settle

pytestmark = pytest.mark.django_db

LABELS = ("vectorstore", "calls", "matching", "videos", "accounts")
"""Opposite to the order of the foreign keys."""
TABLES = ("users", "videos", "matches", "video_calls", "profile_embeddings", "users_groups")


def everything(*, without_updated_at: bool = False) -> dict[str, Any]:
    row = "to_jsonb(row) - 'updated_at'" if without_updated_at else "to_jsonb(row)"
    return {
        table: ask(f"SELECT {row} - CASE WHEN '{table}' = 'users_groups' THEN 'id' ELSE '' END FROM {table} row ORDER BY 1")
        for table in TABLES
    }


@pytest.fixture
def rows() -> None:
    """Insert a row into each table. The times have milliseconds only, because Django writes no more to JSON."""
    at = {"created_at": datetime(2026, 1, 5, 9, tzinfo=UTC), "updated_at": datetime(2026, 1, 6, 9, tzinfo=UTC)}
    for status in ("initiated", "ended"):
        user, video = uuid4(), uuid4()
        caller = UserFactory.create(id=user, video_id=video, **at)
        VideoFactory.create(id=video, user=caller, **at)
        ProfileEmbeddingFactory.create(user=caller, **at)
        match = MatchFactory.create(user=caller, matched_user=UserFactory.create(**at), expires_at=at["updated_at"], **at)
        VideoCallFactory.create(match=match, started_at=at["created_at"], status=status, created_at=at["created_at"])
    UserFactory.create(anonymized=True, staff=True, **at | {"deleted_at": at["updated_at"]}).groups.add(
        Group.objects.create(name="Editors")
    )
    settle()


@pytest.mark.parametrize("options", [{}, {"use_natural_foreign_keys": True, "use_natural_primary_keys": True}], ids=["plain", "natural"])
def test_loaddata__of_a_dump_restores_every_row(rows: None, tmp_path: Path, options: dict[str, bool]) -> None:
    """Users keep their UUIDs also with natural keys, because Qdrant uses the UUIDs."""
    fixture = tmp_path / "dump.json"
    call_command("dumpdata", *LABELS, output=str(fixture), verbosity=0, **options)
    before = everything()
    assert all(before.values())
    ask("DELETE FROM users")
    ask("DELETE FROM erased_users")
    settle()
    assert not any(everything().values())

    call_command("loaddata", str(fixture), verbosity=0)
    settle()
    assert everything() == before


def test_loaddata__twice_changes_nothing_but_updated_at(rows: None, tmp_path: Path) -> None:
    fixture = tmp_path / "dump.json"
    call_command("dumpdata", *LABELS, output=str(fixture), verbosity=0)
    before = everything(without_updated_at=True)
    call_command("loaddata", str(fixture), verbosity=0)
    settle()
    assert everything(without_updated_at=True) == before
