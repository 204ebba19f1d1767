"""The commands ``restrict_user`` and ``stop_matching``: output, exit codes and refusals."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from privacy.local_dates import today
from privacy.models.request_choices import State
from tests.factories import UserFactory, now
from tests.privacy.life import full_life
from tests.privacy.requests.rows import request_in
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live
from tests.support.commands import manage_here
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)


# --- Commands ---------------------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command(*map(str, arguments), stdout=out, stderr=err)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), err.getvalue()


def test_restrict_user(shelf: Shelf) -> None:
    person = full_life()
    assert run("restrict_user", person.pk, "--dry-run")[1].startswith(f"{person.pk}: this would happen.\n")
    assert User.objects.get(pk=person.pk).restricted_at is None
    assert run("restrict_user", person.email, "--no-input")[1].startswith(f"{person.pk} is restricted.\n")
    assert run("restrict_user", person.pk, "--no-input")[1].startswith(f"{person.pk} was restricted already.\n")
    refused = run("restrict_user", person.pk, "--lift", "--no-input")
    assert (refused[0], refused[2].count("article 18 (3)")) == (2, 1)
    assert "'2026-13-01' is not a day such as 2026-12-31" in run("restrict_user", person.pk, "--lift", "--informed-on", "2026-13-01")[2]
    assert "belongs to --lift" in run("restrict_user", person.pk, "--informed-on", today(), "--no-input")[2]
    lift = ("restrict_user", person.pk, "--lift", "--informed-on", today(), "--no-input")
    assert run(*lift)[1].startswith(f"{person.pk} is not restricted any more.\n")
    assert run(*lift)[1].startswith(f"{person.pk} was not restricted.\n")


def test_stop_matching_command(shelf: Shelf) -> None:
    person = full_life()
    shelf.reachable = False
    code, out, err = run("stop_matching", person.pk, "--no-input")
    assert (code, out.splitlines()[0]) == (1, f"{person.pk} is not matched any more.")
    assert err == (
        f"{person.pk} is stopped in PostgreSQL and hidden from every search, but the shelf may still have the user: The shelf is too high."
        f" Fetch a ladder. When it is available, run: manage.py stop_matching {person.pk} --no-input\n"
    )
    shelf.reachable = True
    assert run("stop_matching", person.pk, "--no-input")[1].startswith(f"{person.pk} was not matched already.\n")
    assert "exclude each other" in run("stop_matching", person.pk, "--resume", "--delete-embedding", "--no-input")[2]
    assert run("stop_matching", person.pk, "--resume", "--no-input")[1].startswith(f"{person.pk} is matched again.\n")
    assert run("stop_matching", person.pk, "--resume", "--no-input")[1].startswith(f"{person.pk} was not stopped.\n")


# --- Other commands that write users ----------------------------------------------------------------------------------------------


def test_loaddata__older_data__neither_lifts_a_restriction_nor_withdraws_an_objection(tmp_path: Path) -> None:
    restricted, objecting, other = full_life(), UserFactory.create(), UserFactory.create(full_name="Old")
    path = tmp_path / "all.json"
    path.write_text(serializers.serialize("json", [*User.objects.all(), *Video.objects.filter(user=restricted)]))
    User.objects.filter(pk=restricted.pk).update(restricted_at=now(), full_name="Corrected")
    User.objects.filter(pk=objecting.pk).update(objected_at=now())
    User.objects.filter(pk=other.pk).update(full_name="New")
    Video.objects.filter(user=restricted).update(rejection_reason="corrected")
    code, _, err = manage_here("loaddata", path)
    assert code == 1
    assert err.startswith("Not loaded: 3 rows of users who were restricted before (article 18), accounts.user ")
    assert err.endswith(" among them. Everything else was loaded.\n")
    row = User.objects.get(pk=restricted.pk)
    assert (row.restricted_at is not None, row.full_name) == (True, "Corrected")
    assert set(Video.objects.filter(user=restricted).values_list("rejection_reason", flat=True)) == {"corrected"}
    assert User.objects.get(pk=objecting.pk).objected_at is not None
    assert User.objects.get(pk=other.pk).full_name == "Old"
    request_in(State.APPROVED, kind="rectification", user_id=restricted.pk)
    assert manage_here("loaddata", path)[0] == 0
    row.refresh_from_db()
    assert (row.restricted_at is not None, row.full_name) == (True, restricted.full_name)


def test_loaddata__copy_into_an_empty_database__has_the_restricted_users(tmp_path: Path) -> None:
    person = full_life(restricted_at=now())
    path = tmp_path / "all.json"
    path.write_text(serializers.serialize("json", [person, *Video.objects.filter(user=person)]))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE users CASCADE; DELETE FROM erased_users")
    assert manage_here("loaddata", path)[::2] == (0, "")
    assert User.objects.get(pk=person.pk).restricted_at is not None and Video.objects.filter(user=person).count() == 2


def test_changepassword__of_a_restricted_user__only_for_an_approved_rectification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "a long pass phrase")
    person = UserFactory.create(restricted_at=now())
    code, _, err = manage_here("changepassword", person.email)
    assert code == 2
    assert err == (
        f"The user {str(person.pk)!r} is restricted: nothing was changed. Lift the restriction first, or approve the user's request for a"
        " rectification.\n"
    )
    assert User.objects.get(pk=person.pk).password == person.password
    request_in(State.APPROVED, kind="rectification", user_id=person.pk)
    assert manage_here("changepassword", person.email)[0] == 0
    assert User.objects.get(pk=person.pk).check_password("a long pass phrase")
