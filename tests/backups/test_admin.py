"""The status page of the backups, and who may view it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.urls import reverse

from backups.models import Backup, BackupVerification
from backups.postgres import database_of
from tests.support.staff import signed_in, staff, superuser

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:backups_backup_status")


def page_text(*permissions: str) -> str:
    person = staff(*permissions) if permissions else superuser()
    return " ".join(signed_in(person).get(PAGE).content.decode().split())


def fill() -> None:
    now, database = datetime.now(UTC), database_of(connection).identity
    common = {"destination": "s3://bucket/backups", "database": database, "is_complete": True}
    Backup.objects.create(**common, name="the-newest", taken_at=now - timedelta(hours=3), ended_at=now, is_encrypted=True, size=5_000_000)
    Backup.objects.create(**common, name="gone", taken_at=now, ended_at=now, is_encrypted=True, size=1, gone_at=now)
    run = {**common, "taken_at": now - timedelta(days=3)}
    BackupVerification.objects.create(
        **run,
        name="proven",
        finished_at=now - timedelta(days=2, hours=12),
        seconds=200,
        restore_seconds=180,
        compared={"rows": 250, "points": 0},
    )
    BackupVerification.objects.create(**run, name="<failed>", finished_at=now, seconds=9, error="The digest of a table differs.")
    BackupVerification.objects.create(**run, name="running")


def test_page__no_data__names_the_commands(db: None) -> None:
    page = page_text()
    assert "There is no good backup of this database. Make one with manage.py backup." in page
    assert "None yet: <code>manage.py backup</code>." in page
    assert "None yet: <code>manage.py restore_drill</code>." in page


def test_page__shows_recovery_point_and_time(db: None) -> None:
    fill()
    page = page_text()
    assert '3.0 hours<span class="block text-sm break-words">the-newest in s3://bucket/backups</span>' in page
    assert '3.0 minutes<span class="block text-sm break-words">proven, proven 2.5 days ago</span>' in page
    assert "<strong>The last verification failed</strong>, that of &lt;failed&gt;: The digest of a table differs." in page
    assert "There is no good backup" not in page
    assert "complete, encrypted" in page
    assert ">gone<" not in page
    assert ">250</td>" in page and ">0</td>" in page and ">180.0 s</td>" in page
    assert ">running</td>" in page


def test_page__permissions(db: None) -> None:
    fill()
    assert signed_in(staff("accounts.view_user")).get(PAGE).status_code == 403
    assert signed_in(superuser()).post(PAGE).status_code == 405
    page = page_text("backups.view_backup")
    assert "the-newest" in page
    assert "Last deep verifications" not in page
    assert "Last deep verifications" in page_text("backups.view_backup", "backups.view_backupverification")


def test_lists__runs_show_their_result(db: None) -> None:
    fill()
    client = signed_in(superuser())
    text = client.get(reverse("admin:backups_backupverification_changelist")).content.decode()
    assert all(word in text for word in ("proven", "failed", "running", "The digest of a table differs."))
    row = BackupVerification.objects.get(name="<failed>")
    assert (
        "The digest of a table differs." in client.get(reverse("admin:backups_backupverification_change", args=[row.pk])).content.decode()
    )
    assert client.get(reverse("admin:backups_backupverification_add")).status_code == 403
