"""``manage.py demo``: all steps, repeated, and never in a database with other users."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings
from qdrant_client import models

from accounts.models import User
from findme.core.errors import UserFacingError
from findme.demo.dataset import ADMIN_EMAIL, ADMIN_ID, JOHN, demo_user_ids
from findme.demo.guard import exclusive_demo, refuse_foreign_data
from findme.demo.presenter import Presenter
from findme.demo.steps import Login, renew_login
from findme.demo.traces import traces_of
from matching.models import Match
from tests.factories import UserFactory
from tests.support.database import Database, database
from tests.support.processes import ended
from tests.support.waiting import wait_until
from vectorstore.catalog.alias import live_collection
from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize

COMMANDS = [
    "migrate",
    "init_qdrant",
    "loaddata",
    "upsert_embeddings",
    "sync_qdrant",
    "search_profiles",
    "export_user",
    "anonymize_user",
    "search_profiles",
]


def demo_output(exports: Path) -> str:
    out = StringIO()
    call_command("demo", "--exports", str(exports), stdout=out)
    return out.getvalue()


def password_in(output: str) -> str:
    found = re.search(r"^ +Password: +(\S+)", output, re.MULTILINE)
    assert found
    return found[1]


def put_point(point_id: str) -> None:
    initialize()
    with qdrant() as client:
        client.upsert(live_collection(client), [models.PointStruct(id=point_id, vector=[1.0] * VECTOR_SIZE)])


# --- The steps -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_demo__tells_the_whole_story__and_tells_it_again(store: str, tmp_path: Path) -> None:
    first, second = demo_output(tmp_path / "exports"), demo_output(tmp_path / "exports")

    for output in (first, second):
        assert re.findall(r"^(\d+)\. ", output, re.MULTILINE) == [str(number) for number in range(1, 12)]
        assert re.findall(r"^ +\$ python manage.py (\w+)", output, re.MULTILINE) == COMMANDS
        assert "\x1b" not in output
    assert "191 loaded (191 of them new), 0 rejected." in first
    assert "191 loaded (1 of them new), 0 rejected." in second
    assert_one_is_forgotten()
    assert_john_is_exported(tmp_path / "exports" / "john.zip")
    assert password_in(first) != password_in(second)
    assert authenticate(username=ADMIN_EMAIL, password=password_in(second)) == User.objects.get(is_superuser=True)
    assert authenticate(username=ADMIN_EMAIL, password=password_in(first)) is None


def assert_one_is_forgotten() -> None:
    """The one of the last time; whom an earlier demo anonymized is back."""
    forgotten = User.objects.get(full_name="Deleted User")
    assert not hasattr(forgotten, "embedding")
    assert set(User.objects.values_list("pk", flat=True)) == demo_user_ids()


def assert_john_is_exported(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("profile.json"))["email"] == JOHN
        words = b"".join(archive.read(name) for name in archive.namelist()).decode()
    others = User.objects.exclude(email=JOHN)
    assert not [person.pk for person in others if person.email in words or person.full_name in words]


@pytest.mark.django_db(transaction=True)
def test_demo__something_in_the_way_of_its_rows__is_one_line(embedded_qdrant: Path, tmp_path: Path) -> None:
    call_command("loaddata", "demo", verbosity=0)
    match = Match.objects.earliest("pk")
    match.delete()
    Match.objects.create(
        user=match.user,
        matched_user=match.matched_user,
        week_number=match.week_number,
        year=match.year,
        match_score=1,
        expires_at=match.expires_at,
    )

    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path)

    assert raised.value.returncode == 2
    assert str(raised.value).startswith("Something that was added to the demo's data stands in the way of loading them again: ")
    assert str(raised.value).endswith(
        'duplicate key value violates unique constraint "matches_user_id_matched_user_id_week_number_year_key"'
    )
    assert "\n" not in str(raised.value)


def test_telling__a_command_that_found_something__ends_the_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found_something(*args: object, **options: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("findme.demo.presenter.call_command", found_something)

    with pytest.raises(UserFacingError) as raised:
        Presenter(OutputWrapper(StringIO())).command("sync_qdrant", "--once")

    assert str(raised.value) == "The demo stops here: python manage.py sync_qdrant --once ended with findings, shown above."


# --- Who is not of the demo ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_demo__beside_a_stranger__touches_nothing(embedded_qdrant: Path, tmp_path: Path) -> None:
    stranger = UserFactory.create()

    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path / "exports")

    assert raised.value.returncode == 2
    assert str(raised.value) == (
        f"The database {connection.settings_dict['NAME']!r} holds a person who is not of the demo, {str(stranger.pk)!r}, and nothing was touched."
        " Give the demo an empty database: DATABASE_URL, or EMBEDDED_POSTGRES_DIR for an embedded one."
    )
    assert list(User.objects.all()) == [stranger]
    assert not embedded_qdrant.exists()
    assert not (tmp_path / "exports").exists()


@pytest.mark.django_db
def test_demo__beside_a_strange_point__touches_nothing(store: str, settings: Settings, tmp_path: Path) -> None:
    stranger = str(uuid4())
    put_point(stranger)

    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path / "exports")

    assert raised.value.returncode == 2
    assert str(raised.value) == (
        f"The collection {settings.QDRANT_COLLECTION!r} holds a point that is not of the demo, {stranger!r}, and nothing was touched."
        " Give the demo a collection of its own: QDRANT_COLLECTION, or QDRANT_PATH for an embedded one."
    )
    assert not User.objects.exists()
    assert not (tmp_path / "exports").exists()


@pytest.mark.django_db
def test_demo__exports_that_cannot_be_written__touches_nothing(embedded_qdrant: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "john.zip").mkdir(parents=True)
    for exports, words in (
        (tmp_path / "file", f"{tmp_path / 'file'}: File exists"),
        (tmp_path / "file" / "below", f"{tmp_path / 'file' / 'below'}: Not a directory"),
        (tmp_path / "folder", f"{str(tmp_path / 'folder' / 'john.zip')!r} is a folder. Name a file in it."),
    ):
        with pytest.raises(CommandError) as raised:
            demo_output(exports)
        assert (raised.value.returncode, str(raised.value)) == (2, words)
    assert not User.objects.exists()


@pytest.mark.django_db
def test_demo__exports_in_a_folder_of_somebody_else__touches_nothing(
    embedded_qdrant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path)
    assert str(raised.value) == f"The folder {str(tmp_path)!r} is not yours to write in: name another one with --exports."
    assert not User.objects.exists()


@pytest.mark.django_db
def test_refuse_foreign_data__point_behind_a_lost_alias__is_refused(store: str, settings: Settings) -> None:
    put_point(str(uuid4()))
    with qdrant() as client:
        lost = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=settings.QDRANT_COLLECTION))
        client.update_collection_aliases([lost])

    with pytest.raises(UserFacingError, match=f"^The collection '{settings.QDRANT_COLLECTION}_v1' holds a point that is not of the demo"):
        refuse_foreign_data(demo_user_ids())


@pytest.mark.django_db
def test_refuse_foreign_data__demo_users_and_login__are_accepted(store: str) -> None:
    call_command("loaddata", "demo", verbosity=0)
    renew_login()
    put_point(str(ADMIN_ID))

    refuse_foreign_data(demo_user_ids())


@pytest.mark.django_db
def test_refuse_foreign_data__another_superuser__is_refused(embedded_qdrant: Path) -> None:
    other = User.objects.create_superuser("root@example.com", "secret", full_name="Root", date_of_birth="1990-01-01", gender="other")

    with pytest.raises(UserFacingError, match=f"not of the demo, '{other.pk}'"):
        refuse_foreign_data(demo_user_ids())


@pytest.mark.django_db
def test_refuse_foreign_data__table_users_of_another_application__is_refused(embedded_qdrant: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users RENAME TO people")
        cursor.execute("CREATE TABLE users (login text)")

    with pytest.raises(UserFacingError, match=r"^The table users of the database '.*' is not FindMe's: column \"id\" does not exist"):
        refuse_foreign_data(demo_user_ids())


@pytest.mark.django_db
def test_refuse_foreign_data__number_as_id__is_refused(embedded_qdrant: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users RENAME TO people")
        cursor.execute("CREATE TABLE users (id integer); INSERT INTO users VALUES (7)")

    with pytest.raises(UserFacingError, match="not of the demo, '7'"):
        refuse_foreign_data(demo_user_ids())


# --- Parts ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_alone__a_second_one__is_refused_until_the_first_has_ended() -> None:
    with exclusive_demo(), pytest.raises(UserFacingError) as raised, exclusive_demo():
        pass
    assert str(raised.value) == f"Another demo is running in the database {connection.settings_dict['NAME']!r}: wait until it is done."

    with exclusive_demo():
        pass


@pytest.mark.django_db
def test_renew_login__puts_the_login_right_again() -> None:
    first = renew_login()
    User.objects.filter(pk=ADMIN_ID).update(email="moved@example.com", is_superuser=False, active=False, deleted_at="2026-01-01T00:00Z")

    second = renew_login()

    assert first.password != second.password
    admin = authenticate(username=ADMIN_EMAIL, password=second.password)
    assert admin is not None and admin.pk == ADMIN_ID
    assert admin.is_superuser


def test_login__its_password_is_in_no_repr() -> None:
    assert repr(Login(ADMIN_EMAIL, "correct-horse")) == "Login(email='admin@example.com')"


@pytest.mark.django_db
def test_traces_of__a_text_in_any_column_of_any_table__is_found() -> None:
    UserFactory.create(email="somebody@example.com", bio="write to somebody.else@example.com")

    assert traces_of("somebody@example.com").found == ("users",)
    assert traces_of("somebody.else@").found == ("users",)
    assert traces_of("nobody@example.com").found == ()
    assert traces_of("nobody@example.com").searched > 10


def test_cast__is_the_fixture_and_the_login() -> None:
    assert ADMIN_ID in demo_user_ids()
    assert len(demo_user_ids()) == 211
    assert all(isinstance(user_id, UUID) for user_id in demo_user_ids())


# --- As a person runs it -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A database without a table; and an embedded vector store of its own that is not there yet."""
    monkeypatch.setenv("QDRANT_URL", "")
    monkeypatch.setenv("QDRANT_PATH", str(memory_path / "qdrant"))
    with django_db_blocker.unblock(), database() as made:
        yield made


def start(empty: Database, tmp_path: Path) -> subprocess.Popen[str]:
    return empty.start("demo", "--exports", str(tmp_path / "exports"), settings="findme.settings")


@pytest.mark.long
def test_demo__killed_in_the_middle__goes_on_from_there(empty: Database, tmp_path: Path) -> None:
    """On an empty database: while it makes the tables, again while it anonymizes somebody, and then to the end."""
    for step in ("2.", "9."):
        process = start(empty, tmp_path)
        assert process.stdout is not None
        assert any(line.startswith(step) for line in process.stdout), step
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        wait_until(
            lambda: not empty.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )

    code, out, err = ended(start(empty, tmp_path))

    assert (code, err.count("Traceback")) == (0, 0), out + err
    assert empty.query("SELECT count(*) FROM users") == [len(demo_user_ids())]


def test_demo__a_qdrant_that_cannot_be_reached__touches_nothing(empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:1")

    code, out, err = ended(start(empty, tmp_path))

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert empty.query("SELECT to_regclass('users')") == [None]
