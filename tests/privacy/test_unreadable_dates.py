"""A user with dates that Python cannot read can be exported and erased. Only a superuser of PostgreSQL can store such dates."""

from __future__ import annotations

import json
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from accounts.models import User
from calls.models import VideoCall
from findme.core.errors import UserFacingError
from findme.core.values.unreadable import UnreadableDateTime
from matching.models import Match
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.export import write_zip
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.staff import opened, signed_in, superuser
from videos.models import Video

DATES = {
    "users": {"date_of_birth": "19900-05-01", "created_at": "-infinity", "last_login": "infinity"},
    "videos": {"created_at": "0044-03-15 12:00:00+00 BC", "deleted_at": "infinity"},
    "matches": {"expires_at": "infinity", "created_at": "infinity"},
    "video_calls": {"started_at": "-infinity", "ended_at": "infinity"},
}


def force(**dates: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        for table, columns in (DATES | dates).items():
            cursor.execute(f"UPDATE {table} SET {', '.join(f'{name} = %s' for name in columns)}", list(columns.values()))


@pytest.fixture
def person(dates_unchecked: None) -> User:
    key = full_life().pk
    force()
    person: User = User.objects.get(pk=key)
    return person


@pytest.mark.django_db(transaction=True)
def test_export__has_the_text_of_the_database(shelf: Shelf, person: User) -> None:
    file = BytesIO()
    write_zip(person.pk, file)
    sections: dict[str, Any] = {}
    with ZipFile(file) as archive:
        for table, name in {"users": "profile", "videos": "videos", "matches": "matches", "video_calls": "calls"}.items():
            found = json.loads(archive.read(f"{name}.json"))
            sections[table] = found if isinstance(found, list) else [found]
    for table, columns in DATES.items():
        assert len(sections[table]) >= 1
        for row in sections[table]:
            assert {name: row[name] for name in columns} == columns


@pytest.mark.django_db(transaction=True)
def test_export_user__is_a_file(shelf: Shelf, person: User, tmp_path: Path) -> None:
    call_command("export_user", str(person.pk), output=tmp_path / "export.zip", stdout=StringIO())
    assert (tmp_path / "export.zip").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("act", [anonymize, soft_delete, erase])
def test_actions__succeed(shelf: Shelf, person: User, act: Any) -> None:
    assert act(person.pk).changed
    row = User.objects.filter(pk=person.pk).first()
    assert (row is None) == (act is erase)
    assert row is None or row.deleted_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize("act", [anonymize, soft_delete, erase])
def test_actions__user_deleted_at_infinity__succeed(shelf: Shelf, person: User, act: Any) -> None:
    force(users={"deleted_at": "infinity"})
    assert act(person.pk).user_id == person.pk
    row = User.objects.filter(pk=person.pk).first()
    assert (row is None) == (act is erase)
    assert row is None or str(row.deleted_at) == "infinity"


@pytest.mark.django_db
def test_anonymize__names_a_constraint_that_is_not_valid(shelf: Shelf, person: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE users ADD CONSTRAINT users_last_login_range_check CHECK (date_of_birth < '2100-01-01') NOT VALID")
    with pytest.raises(UserFacingError) as raised:
        anonymize(person.pk)
    assert str(raised.value) == (
        f"The rows of {str(person.pk)!r} violate the constraint users_last_login_range_check: nothing was changed."
        " Correct the rows with SQL, then run this again."
    )


@pytest.mark.django_db
def test_save__of_another_field_keeps_the_dates(person: User) -> None:
    for model in (User, Video, Match, VideoCall):
        columns = DATES[model._meta.db_table]
        for row in model._base_manager.all():
            row.save()
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT {', '.join(f'{name}::text' for name in columns)} FROM {model._meta.db_table}")
            assert cursor.fetchall() == [tuple(columns.values())]


PAGES = ["accounts_user", "videos_video", "matching_match", "calls_videocall"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", PAGES)
def test_admin__lists_and_pages_are_shown(person: User, name: str) -> None:
    client = signed_in(superuser())
    assert client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    model: Any = {"accounts_user": User, "videos_video": Video, "matching_match": Match, "calls_videocall": VideoCall}[name]
    row = model._base_manager.earliest("created_at")
    answer = client.get(reverse(f"admin:{name}_change", args=[row.pk]))
    assert answer.status_code == 200
    for column, text in DATES[model._meta.db_table].items():
        assert f"{column} is &#x27;{text}&#x27; in the database" in answer.content.decode()


@pytest.mark.django_db
def test_admin__a_save_never_changes_a_date_that_python_cannot_read(person: User) -> None:
    client = signed_in(superuser())
    match = Match.objects.earliest("pk")
    address = reverse("admin:matching_match_change", args=[match.pk])
    form = client.get(address).context["adminform"].form
    typed: dict[str, Any] = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    moment = typed.pop("expires_at")
    assert isinstance(moment, UnreadableDateTime)
    answer = client.post(address, typed | {"expires_at_0": moment.text, "expires_at_1": "00:00:00"} | opened(client, address))
    assert answer.context["adminform"].form.errors == {"expires_at": ["Enter a valid date."]}
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT expires_at::text FROM matches")
        assert cursor.fetchall() == [("infinity",)]
