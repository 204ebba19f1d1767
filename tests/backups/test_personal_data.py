from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backups.models import Backup, BackupVerification
from backups.personal_data import oldest_backup
from privacy.registry import registry

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def backup(name: str, days: int, **changes: object) -> None:
    fields = {"is_complete": True, "is_encrypted": False, "size": 1} | changes
    Backup.objects.create(
        destination="/backups", name=name, database="1/findme", taken_at=NOW - timedelta(days=days), ended_at=NOW, **fields
    )


def test_oldest_replaced_database__is_what_privacy_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the users who were erased after its restore."""
    assert registry.oldest_copy() is None
    backup("new", 1)
    monkeypatch.setattr("backups.personal_data.oldest_replaced", lambda _connection: NOW - timedelta(days=3))
    assert registry.oldest_copy() == NOW - timedelta(days=3)


def test_oldest_backup__is_what_privacy_waits_for() -> None:
    assert oldest_backup() is registry.oldest_copy() is None
    backup("new", 1)
    backup("gone", 9, gone_at=NOW)
    assert oldest_backup() == registry.oldest_copy() == NOW - timedelta(days=1)
    backup("only videos", 5, is_complete=False)
    assert registry.oldest_copy() == NOW - timedelta(days=5)


def test_oldest_restored_apart__is_what_privacy_waits_for() -> None:
    """A deep verification that was killed has left a scratch database. The backup itself can be gone."""
    run = BackupVerification.objects.create(
        destination="/backups", name="old", database="1/findme", taken_at=NOW - timedelta(days=7), is_complete=True
    )
    assert registry.oldest_copy() == NOW - timedelta(days=7)
    run.finished_at = NOW
    run.save()
    assert registry.oldest_copy() is None
