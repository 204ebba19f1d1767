import io
import json
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from privacy.actions.group_size import NO_ERASURE, describe_group
from tests.factories import UserFactory
from tests.privacy.life import ENTRIES, full_life
from tests.privacy.shelf import Shelf
from tests.support.commands import refused
from tests.support.terminal import Terminal

pytestmark = pytest.mark.django_db(transaction=True)

ACTIONS = [["anonymize_user"], ["erase_user", "--soft"], ["erase_user", "--hard"]]


def run(*arguments: object) -> tuple[str, str]:
    """Run a command and return its stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


# --- export_user ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["pk", "email"])
def test_export_user__by_uuid_or_address(shelf: Shelf, tmp_path: Path, by: str) -> None:
    person, path = full_life(), tmp_path / "export.zip"
    out, err = run("export_user", str(getattr(person, by)).upper(), "--output", path, "--no-input")
    assert out == (
        f"{path}: {path.stat().st_size:,} bytes about {person.pk}."
        " Entries: log_ins.json (1), profile.json (1), videos.json (2), matches.json (2), calls.json (2), vector_sync.json (1), vector_import.json (1), exports.json (0), erasure.json (1), requests.json (0), audit_log.json (0), ledger.json (0), files.json (3).\n"
    )
    assert err == ""
    assert zipfile.is_zipfile(path)


def test_export_user__dry_run_writes_nothing(shelf: Shelf, tmp_path: Path) -> None:
    person, path = full_life(), tmp_path / "export.zip"
    out, _ = run("export_user", person.pk, "--output", path, "--dry-run")
    assert out == (
        f"{path}: would contain the data of {person.pk}. Entries: log_ins.json (1), profile.json (1), videos.json (2), matches.json (2), calls.json (2), vector_sync.json (1), vector_import.json (1), exports.json (0), erasure.json (1), requests.json (0), audit_log.json (0), ledger.json (0), files.json (3).\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_export_user__with_and_without_force(shelf: Shelf, tmp_path: Path) -> None:
    person, path = UserFactory.create(), tmp_path / "export.zip"
    path.write_bytes(b"mine")
    message = f"'{path}' exists, and is not replaced without --force. Name another file, or add --force."
    assert refused("export_user", person.pk, "--output", path) == message
    assert refused("export_user", person.pk, "--output", path, "--dry-run") == message
    assert path.read_bytes() == b"mine"
    run("export_user", person.pk, "--output", path, "--force")
    assert zipfile.is_zipfile(path)


def test_export_user__json(shelf: Shelf, tmp_path: Path) -> None:
    person, path = full_life(), tmp_path / "export.zip"
    planned = json.loads(run("export_user", person.pk, "--output", path, "--json", "--dry-run")[0])
    assert planned == {
        "user_id": str(person.pk),
        "dry_run": True,
        "path": str(path),
        "entries": ENTRIES,
    }
    written = json.loads(run("export_user", person.pk, "--output", path, "--json")[0])
    assert (written["user_id"], written["path"], written["size"]) == (str(person.pk), str(path), path.stat().st_size)
    assert {file["name"]: file["entries"] for file in written["files"]} == planned["entries"]


def test_export_user__store_unavailable(shelf: Shelf, tmp_path: Path) -> None:
    person, shelf.reachable = UserFactory.create(), False
    assert refused("export_user", person.pk, "--output", tmp_path / "export.zip") == "The shelf is too high. Fetch a ladder."
    assert list(tmp_path.iterdir()) == []


# --- anonymize_user and erase_user ------------------------------------------------------------------------------------------------


def test_anonymize_user__prints_the_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    out, err = run("anonymize_user", person.email.lower(), "--no-input")
    assert out.splitlines() == [
        f"{person.pk} is anonymized.",
        "  profiles (e-mail, name, bio, password, last login): 1, cleared",
        "  profiles (date of birth, to 1 January of its year): 1, reduced",
        "  profiles (gender, flags, times): 1, kept",
        "  videos (URLs, rejection reasons, metadata): 2, cleared",
        "  video files in the storage that their URLs name: 3, kept",
        "  matches: 2, kept",
        "  calls (session, recording, metadata): 2, cleared",
        "  call recordings in the storage that their URLs name: 2, kept",
        "  points in the shelf: 1, deleted",
        (
            "k = 1 (users with the same year of birth and gender). Warning: with fewer than 5, these two values may identify the user."
            " Delete the user for good, if that matters."
        ),
    ]
    assert err == ""
    assert User.objects.get(pk=person.pk).full_name == "Deleted User"


@pytest.mark.parametrize("others", [3, 4])
def test_anonymize_user__prints_k(shelf: Shelf, others: int) -> None:
    person = UserFactory.create(date_of_birth=date(1990, 7, 21), gender="other")
    UserFactory.create_batch(others, date_of_birth=date(1990, 2, 3), gender="other")
    previewed, _ = run("anonymize_user", person.pk, "--dry-run")
    assert previewed.splitlines()[-2:] == [NO_ERASURE, describe_group(others + 1)]
    out, _ = run("anonymize_user", person.pk, "--no-input")
    line = out.splitlines()[-1]
    assert line == describe_group(others + 1)
    assert line.startswith(f"k = {others + 1} (") and ("Warning" in line) == (others + 1 < 5)
    for option in ("--dry-run", "--no-input"):
        assert json.loads(run("anonymize_user", person.pk, "--json", option)[0])["k"] == others + 1


def test_anonymize_user__again(shelf: Shelf) -> None:
    person = UserFactory.create()
    run("anonymize_user", person.pk, "--no-input")
    shelf.ids.add(person.pk)
    out, _ = run("anonymize_user", person.pk, "--no-input")
    assert out.splitlines()[0] == f"{person.pk} was anonymized already."
    assert out.splitlines()[-2] == "  points in the shelf: 1, deleted"
    assert shelf.ids == set()


def test_erase_user__hard(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.ids.add(person.pk)
    assert run("erase_user", person.pk, "--hard", "--no-input")[0].splitlines()[0] == f"{person.pk} is deleted for good."
    assert not User.objects.exists()
    shelf.ids.add(person.pk)
    out, _ = run("erase_user", person.pk, "--hard", "--no-input")
    assert (
        out == f"{person.pk} was already deleted from PostgreSQL, and is now deleted from the stores.\n  points in the shelf: 1, deleted\n"
    )
    assert refused("erase_user", person.pk, "--hard", "--no-input") == (
        f"Neither PostgreSQL nor the shelf has a user with the id '{person.pk}'."
    )


def test_erase_user__soft(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.ids.add(person.pk)
    assert run("erase_user", person.pk, "--soft", "--no-input")[0].splitlines()[0] == f"{person.pk} is deleted softly."
    assert run("erase_user", person.pk, "--soft", "--no-input")[0].splitlines()[0] == f"{person.pk} was deleted already."
    assert shelf.ids == set()


def test_erase_user__soft__store_unavailable__exits_with_1(shelf: Shelf) -> None:
    person, shelf.reachable = UserFactory.create(), False
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("erase_user", str(person.pk), "--soft", "--no-input", stdout=out, stderr=err)
    assert ended.value.code == 1
    assert err.getvalue() == (
        f"{person.pk} is deleted in PostgreSQL and hidden from every search, but the shelf may still have the user: The shelf is too high."
        f" Fetch a ladder. When it is available, run: manage.py erase_user {person.pk} --soft --no-input\n"
    )
    assert User.objects.get(pk=person.pk).deleted_at is not None


@pytest.mark.parametrize("action", [["anonymize_user"], ["erase_user", "--hard"]])
def test_actions__store_unavailable__exit_with_2(shelf: Shelf, action: list[str]) -> None:
    person, shelf.reachable = UserFactory.create(), False
    before = list(User.objects.values())
    assert refused(*action, person.pk, "--no-input") == "The shelf is too high. Fetch a ladder."
    assert list(User.objects.values()) == before


@pytest.mark.parametrize("action", ACTIONS)
def test_actions__dry_run_changes_nothing(shelf: Shelf, action: list[str]) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    before = list(User.objects.order_by("pk").values())
    out, _ = run(*action, person.pk, "--dry-run")
    first, *lines = out.splitlines()
    assert first == f"{person.pk}: this would happen."
    assert [line for line in lines if line.startswith("  ")][-1] == "  points in the shelf: 1, deleted"
    assert list(User.objects.order_by("pk").values()) == before
    assert shelf.ids == {person.pk}


@pytest.mark.parametrize("action", ACTIONS)
def test_actions__json(shelf: Shelf, action: list[str]) -> None:
    person = UserFactory.create()
    planned = json.loads(run(*action, person.pk, "--dry-run", "--json")[0])
    assert (planned["user_id"], planned["dry_run"]) == (str(person.pk), True)
    done = json.loads(run(*action, person.pk, "--no-input", "--json")[0])
    assert (done["user_id"], done["changed"], done["pending_stores"]) == (str(person.pk), True, [])
    assert done["effects"] == planned["effects"]
    assert {"what": "points in the shelf", "count": 0, "disposition": "deleted"} in done["effects"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("stdin", [io.StringIO("yes\n"), None])
def test_actions__no_terminal(shelf: Shelf, action: list[str], stdin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    person = UserFactory.create()
    assert refused(*action, person.pk) == (
        "Standard input is not a terminal, so there is no confirmation: nothing was changed. Add --no-input or --dry-run."
    )
    assert User.objects.alive().filter(pk=person.pk).exists()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("answer", ["", "\n", "no\n", "y\n"])
def test_actions__not_confirmed(shelf: Shelf, action: list[str], answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    person = UserFactory.create()
    assert refused(*action, person.pk) == "Not confirmed: nothing was changed. Run it again and type yes."
    assert User.objects.alive().filter(pk=person.pk).exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_actions__confirmed_after_the_preview(shelf: Shelf, action: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("Yes\n"))
    person = UserFactory.create()
    out, err = run(*action, person.pk)
    assert out.splitlines()[0].endswith("This will happen:")
    assert out.count("points in the shelf: 0, deleted") == 2  # the preview and the result
    assert err == "Type yes to continue: "
    assert not User.objects.alive().filter(pk=person.pk).exists()


def test_actions__confirmed_with_json__preview_is_on_stderr(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    person = UserFactory.create()
    out, err = run("anonymize_user", person.pk, "--json")
    assert json.loads(out)["changed"] is True
    assert err.startswith(f"Anonymizing {person.pk} cannot be undone. This will happen:\n  profiles")
    assert f"\n{NO_ERASURE}\nk = 1 (" in err


@pytest.mark.parametrize("action", [*ACTIONS, ["export_user", "--output", "/nonexistent/export.zip"]])
def test_actions__an_unknown_address(shelf: Shelf, action: list[str]) -> None:
    assert refused(*action, "unknown@example.com").startswith("No user has the e-mail address 'unknown@example.com'.")


@pytest.mark.parametrize("action", [["anonymize_user"], ["erase_user", "--soft"]])
def test_actions__an_unknown_user(shelf: Shelf, action: list[str]) -> None:
    unknown_id = uuid4()
    assert refused(*action, unknown_id, "--no-input") == (
        f"PostgreSQL has no user with the id '{unknown_id}'. If the vector store still has a point, run: manage.py erase_user {unknown_id} --hard"
    )


def test_erase_user__needs_soft_or_hard(shelf: Shelf) -> None:
    with pytest.raises(CommandError, match="one of the arguments --soft --hard is required"):
        run("erase_user", uuid4())
    with pytest.raises(CommandError, match="not allowed with argument"):
        run("erase_user", uuid4(), "--soft", "--hard")
