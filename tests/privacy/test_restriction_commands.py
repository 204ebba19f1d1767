"""The commands ``restrict_user`` and ``stop_matching``: output, exit codes and refusals."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from privacy.local_dates import today
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live

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
