"""``manage.py demo``: it runs all steps, can be repeated, and never runs in a database with other users."""

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
from findme.demo.guard import exclusive_demo, require_only_demo_data
from findme.demo.presenter import Presenter
from findme.demo.steps import Login, renew_login
from findme.demo.traces import find_traces
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


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_demo__runs_all_steps(embedded_qdrant: Path, tmp_path: Path) -> None:
    output = demo_output(tmp_path / "exports")

    assert re.findall(r"^(\d+)\. ", output, re.MULTILINE) == [str(number) for number in range(1, 12)]
    assert re.findall(r"^ +\$ python manage.py (\w+)", output, re.MULTILINE) == COMMANDS
    assert "191 loaded (191 of them new), 0 rejected." in output
    assert_one_user_is_anonymized()
    assert_john_is_exported(tmp_path / "exports" / "john.zip")
    assert authenticate(username=ADMIN_EMAIL, password=password_in(output)) == User.objects.get(is_superuser=True)


@pytest.mark.long
@pytest.mark.at_length("embedded")
@pytest.mark.django_db(transaction=True)
def test_demo__runs_all_steps__twice(store: str, tmp_path: Path) -> None:
    first, second = demo_output(tmp_path / "exports"), demo_output(tmp_path / "exports")

    for output in (first, second):
        assert re.findall(r"^(\d+)\. ", output, re.MULTILINE) == [str(number) for number in range(1, 12)]
        assert re.findall(r"^ +\$ python manage.py (\w+)", output, re.MULTILINE) == COMMANDS
        assert "\x1b" not in output
    assert "191 loaded (191 of them new), 0 rejected." in first
    assert "191 loaded (1 of them new), 0 rejected." in second
    assert_one_user_is_anonymized()
    assert_john_is_exported(tmp_path / "exports" / "john.zip")
    assert password_in(first) != password_in(second)
    assert authenticate(username=ADMIN_EMAIL, password=password_in(second)) == User.objects.get(is_superuser=True)
    assert authenticate(username=ADMIN_EMAIL, password=password_in(first)) is None


def assert_one_user_is_anonymized() -> None:
    """Only the user of the last run: the demo restores the one that an earlier run anonymized."""
    anonymized = User.objects.get(full_name="Deleted User")
    assert not hasattr(anonymized, "embedding")
    assert set(User.objects.values_list("pk", flat=True)) == demo_user_ids()


def assert_john_is_exported(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("profile.json"))["email"] == JOHN
        words = b"".join(archive.read(name) for name in archive.namelist()).decode()
    others = User.objects.exclude(email=JOHN)
    assert not [user.pk for user in others if user.email in words or user.full_name in words]


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_demo__conflicting_row__is_reported_in_one_line(embedded_qdrant: Path, tmp_path: Path) -> None:
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
    assert str(raised.value).startswith("A row that was added to the demo data prevents loading it again: ")
    assert str(raised.value).endswith(
        'duplicate key value violates unique constraint "matches_user_id_matched_user_id_week_number_year_key".'
        " Delete that row, then run the demo again."
    )
    assert "\n" not in str(raised.value)


def test_presenter__command_with_findings__stops_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_with_findings(*args: object, **options: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("findme.demo.presenter.call_command", exit_with_findings)

    with pytest.raises(UserFacingError) as raised:
        Presenter(OutputWrapper(StringIO())).command("sync_qdrant", "--once")

    assert str(raised.value) == (
        "The demo stopped: python manage.py sync_qdrant --once has findings. Fix what it printed above, then run the demo again."
    )


# --- Data of others ------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_demo__another_user__changes_nothing(embedded_qdrant: Path, tmp_path: Path) -> None:
    other = UserFactory.create()

    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path / "exports")

    assert raised.value.returncode == 2
    assert str(raised.value) == (
        f"The database {connection.settings_dict['NAME']!r} has the user {str(other.pk)!r}, who is not a demo user: nothing was changed."
        " Set DATABASE_URL, or EMBEDDED_POSTGRES_DIR for an embedded database, to an empty one."
    )
    assert list(User.objects.all()) == [other]
    assert not embedded_qdrant.exists()
    assert not (tmp_path / "exports").exists()


@pytest.mark.django_db
def test_demo__another_point__changes_nothing(store: str, settings: Settings, tmp_path: Path) -> None:
    other = str(uuid4())
    put_point(other)

    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path / "exports")

    assert raised.value.returncode == 2
    assert str(raised.value) == (
        f"The collection {settings.QDRANT_COLLECTION!r} has the point {other!r}, which is not a demo user's: nothing was changed."
        " Set QDRANT_COLLECTION, or QDRANT_PATH for an embedded Qdrant, to a new name."
    )
    assert not User.objects.exists()
    assert not (tmp_path / "exports").exists()


@pytest.mark.django_db
def test_demo__exports_not_writable__changes_nothing(embedded_qdrant: Path, tmp_path: Path) -> None:
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
def test_demo__exports_in_a_folder_of_another_account__changes_nothing(
    embedded_qdrant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(CommandError) as raised:
        demo_output(tmp_path)
    assert str(raised.value) == f"You may not write in the folder {str(tmp_path)!r}. Name another one with --exports."
    assert not User.objects.exists()


@pytest.mark.django_db
def test_require_only_demo_data__point_behind_a_lost_alias__is_refused(store: str, settings: Settings) -> None:
    put_point(str(uuid4()))
    with qdrant() as client:
        lost = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=settings.QDRANT_COLLECTION))
        client.update_collection_aliases([lost])

    with pytest.raises(
        UserFacingError, match=f"^The collection '{settings.QDRANT_COLLECTION}_v1' has the point '.*', which is not a demo user's"
    ):
        require_only_demo_data(demo_user_ids())


@pytest.mark.at_length("embedded")
@pytest.mark.django_db
def test_require_only_demo_data__demo_users_and_login__are_accepted(store: str) -> None:
    call_command("loaddata", "demo", verbosity=0)
    renew_login()
    put_point(str(ADMIN_ID))

    require_only_demo_data(demo_user_ids())


@pytest.mark.django_db
def test_require_only_demo_data__another_superuser__is_refused(embedded_qdrant: Path) -> None:
    other = User.objects.create_superuser("root@example.com", "secret", full_name="Root", date_of_birth="1990-01-01", gender="other")

    with pytest.raises(UserFacingError, match=f"has the user '{other.pk}', who is not a demo user"):
        require_only_demo_data(demo_user_ids())


@pytest.mark.django_db
def test_require_only_demo_data__table_users_of_another_application__is_refused(embedded_qdrant: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users RENAME TO members")
        cursor.execute("CREATE TABLE users (login text)")

    with pytest.raises(UserFacingError, match=r"^The table users of the database '.*' is not FindMe's: column \"id\" does not exist"):
        require_only_demo_data(demo_user_ids())


@pytest.mark.django_db
def test_require_only_demo_data__number_as_id__is_refused(embedded_qdrant: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users RENAME TO members")
        cursor.execute("CREATE TABLE users (id integer); INSERT INTO users VALUES (7)")

    with pytest.raises(UserFacingError, match="has the user '7', who is not a demo user"):
        require_only_demo_data(demo_user_ids())


# --- Parts ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_exclusive_demo__second_demo__is_refused_until_the_first_has_ended() -> None:
    with exclusive_demo(), pytest.raises(UserFacingError) as raised, exclusive_demo():
        pass
    assert str(raised.value) == f"Another demo is running in the database {connection.settings_dict['NAME']!r}: wait until it is done."

    with exclusive_demo():
        pass


@pytest.mark.django_db
def test_renew_login__changed_account__is_reset() -> None:
    first = renew_login()
    User.objects.filter(pk=ADMIN_ID).update(email="moved@example.com", is_superuser=False, active=False, deleted_at="2026-01-01T00:00Z")

    second = renew_login()

    assert first.password != second.password
    admin = authenticate(username=ADMIN_EMAIL, password=second.password)
    assert admin is not None and admin.pk == ADMIN_ID
    assert admin.is_superuser


def test_login__repr__has_no_password() -> None:
    assert repr(Login(ADMIN_EMAIL, "correct-horse")) == "Login(email='admin@example.com')"


@pytest.mark.django_db
def test_find_traces__text_in_any_column_of_any_table__is_found() -> None:
    UserFactory.create(email="first@example.com", bio="write to second.address@example.com")

    assert find_traces("first@example.com").found == ("users",)
    assert find_traces("second.address@").found == ("users",)
    assert find_traces("missing@example.com").found == ()
    assert find_traces("missing@example.com").searched > 10


def test_cast__is_the_fixture_and_the_login() -> None:
    assert ADMIN_ID in demo_user_ids()
    assert len(demo_user_ids()) == 211
    assert all(isinstance(user_id, UUID) for user_id in demo_user_ids())


# --- As a process --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """An empty database, and the folder of an embedded Qdrant that does not exist yet."""
    monkeypatch.setenv("QDRANT_URL", "")
    monkeypatch.setenv("QDRANT_PATH", str(memory_path / "qdrant"))
    with django_db_blocker.unblock(), database() as made:
        yield made


def start(empty: Database, tmp_path: Path) -> subprocess.Popen[str]:
    return empty.start("demo", "--exports", str(tmp_path / "exports"), settings="findme.settings")


@pytest.mark.at_length
@pytest.mark.long
def test_demo__killed_twice__then_completes(empty: Database, tmp_path: Path) -> None:
    """On an empty database: it is killed while it creates the tables and while it anonymizes a user, and then completes."""
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


@pytest.mark.at_length
def test_demo__qdrant_unreachable__changes_nothing(empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:1")

    code, out, err = ended(start(empty, tmp_path))

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert empty.query("SELECT to_regclass('users')") == [None]
