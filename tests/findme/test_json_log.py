"""``LOG_FORMAT=json``: each line is one JSON document, and none has a datum of a person."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from findme.console import running
from findme.json_log import JsonLines
from tests.factories import UserFactory
from tests.findme.processes import PRODUCTION, manage
from tests.privacy.process import manage as manage_the_test_database

NAME, EMAIL, BIO = "Wilhelmina Quux", "Wilhelmina.Quux@example.org", "Plays the theremin at midnight"
WORDS = ("Wilhelmina", "Quux", "example.org", "theremin")


def logged(name: str, message: str, *args: object, error: BaseException | None = None, **extra: object) -> dict[str, Any]:
    record = logging.LogRecord(
        name, logging.ERROR, "/srv/somewhere.py", 7, message, args, None if error is None else (type(error), error, error.__traceback__)
    )
    record.__dict__.update(extra)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert not [word for word in WORDS if word in line]
    return dict(json.loads(line))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """With a traceback."""
    with pytest.raises(type(error)) as found:
        raise error from cause
    return found.value


def test_record__what_a_line_has() -> None:
    entry = logged(
        "vectorstore.sync", "%s points in %s", 3, "profile_embeddings_v1", counts={"written": 3}, duration_seconds=0.5, exit_code=0
    )
    assert entry.pop("time").endswith("+00:00")
    assert entry.pop("process") > 0
    assert entry == {
        "level": "ERROR",
        "logger": "vectorstore.sync",
        "message": "3 points in profile_embeddings_v1",
        "command": None,
        "counts": {"written": 3},
        "duration_seconds": 0.5,
        "exit_code": 0,
    }


@pytest.mark.parametrize("logger", ["privacy.admin.doing", "django.request", "root", "asyncio"])
def test_exception__kind_and_place_without_its_words(logger: str) -> None:
    error = raised(ValueError(f"{NAME} <{EMAIL}>"), raised(KeyError(BIO)))
    entry = logged(logger, "It failed: %s", 5, error=error)
    assert entry["message"] == "It failed: 5"
    assert entry["exception"] == ["ValueError", "KeyError"]
    assert [place.rpartition(" ")[2] for place in entry["where"]] == ["raised"]


@pytest.mark.django_db
def test_exception__of_a_row_that_postgresql_refuses() -> None:
    """Its words have the address, its DETAIL the whole row."""
    UserFactory.create(email=EMAIL, full_name=NAME, bio=BIO)
    with pytest.raises(IntegrityError) as found, transaction.atomic():
        UserFactory.create(email=EMAIL.lower(), full_name=NAME, bio=BIO)
    entry = logged("django.request", "Internal Server Error: %s", f"/admin/?q={EMAIL}", error=found.value, status_code=500)
    assert entry["message"] == "Internal Server Error: ..."
    assert (entry["sqlstate"], entry["table_name"], entry["constraint_name"]) == ("23505", "users", "idx_users_email_lower")
    assert entry["exception"][-2:] == ["psycopg.errors.UniqueViolation", "django.db.utils.IntegrityError"] or "IntegrityError" in str(
        entry["exception"]
    )
    assert entry["status_code"] == 500


def test_record__of_another_package_that_is_put_together_already() -> None:
    entry = logged("asyncio", f"Task exception was never retrieved: {NAME}, {EMAIL}")
    assert entry["message"] == "... (somewhere:7)"


def test_record__of_another_package_with_values() -> None:
    entry = logged("django.db.backends", "(%.3f) %s; args=%s; alias=%s", 0.5, f"SELECT '{NAME}'", (EMAIL,), "default")
    assert entry["message"] == "(0.500) ...; args=...; alias=..."
    assert logged("other", "%(who)s has %(count)d", {"who": NAME, "count": 4})["message"] == "... has 4"


def test_record__of_ours_masks_an_address() -> None:
    """None of ours logs one; an error of a driver might be among its words."""
    assert logged("vectorstore.rebuild.kept", "Not dropped: %s", f"no {EMAIL}!")["message"] == "Not dropped: no <e-mail>"


@pytest.mark.parametrize("name", ["findme.x", "elsewhere"])
def test_record__that_cannot_be_formatted_is_written(name: str) -> None:
    assert logged(name, "%d people", NAME)["level"] == "ERROR"
    assert logged(name, "%s %s", 1)["level"] == "ERROR"


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.none()), max_size=3))
def test_record__of_another_package_never_has_a_text_of_its_arguments(message: str, args: list[object]) -> None:
    secret = "Wilhelmina"
    logged("elsewhere", message, *args, secret)
    logged("findme.x", message.replace(secret, ""), *args)


def test_request__route_and_not_address() -> None:
    """A search has a name in its address."""
    request = Client().get("/healthz").wsgi_request
    request.resolver_match = type("Match", (), {"route": "admin/accounts/user/"})()
    entry = logged("django.request", "Not Found: %s", f"/admin/accounts/user/?q={NAME}", request=request, status_code=404)
    assert (entry["method"], entry["route"], entry["status_code"]) == ("GET", "admin/accounts/user/", 404)


@dataclass(frozen=True)
class Inner:
    length: int = 2
    oldest_seconds: float | None = 1.5


@dataclass(frozen=True)
class Result:
    written: int = 3
    stopped: bool = False
    who: str = NAME
    refused: tuple[str, ...] = (NAME, EMAIL)
    left: Inner = field(default_factory=Inner)
    reasons: Mapping[str, int] = field(default_factory=lambda: {NAME: 1})


def test_counts__numbers_only() -> None:
    assert running.note_counts(Result()) == {"written": 3, "refused": 2, "left.length": 2}


def lines(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


def test_command__one_line_at_its_end() -> None:
    code, _out, err = manage("check", **PRODUCTION | {"LOG_FORMAT": "json"})
    (entry,) = lines(err)
    assert (code, entry["logger"], entry["command"], entry["exit_code"], entry["counts"]) == (0, "findme.command", "check", 0, {})
    assert entry["message"] == "The command check ended with code 0."
    assert 0 < entry["duration_seconds"] < 120


def test_command__that_fails_and_has_a_person_among_its_arguments() -> None:
    """The database of these settings cannot be reached."""
    code, _out, err = manage("erase_user", EMAIL, "--hard", "--no-input", **PRODUCTION | {"LOG_FORMAT": "JSON"})
    entry = lines(err)[-1]
    assert (code, entry["command"], entry["exit_code"]) == (2, "erase_user", 2)
    assert not [word for word in WORDS if word in json.dumps(lines(err))]


def test_command__an_unknown_one_is_not_repeated() -> None:
    code, _out, err = manage("Wilhelmina", **PRODUCTION | {"LOG_FORMAT": "json"})
    assert (code, [entry["command"] for entry in lines(err)]) == (2, [None])
    assert "Wilhelmina" not in json.dumps(lines(err))


def test_command__text_has_no_such_line() -> None:
    assert manage("check", **PRODUCTION) == (0, "System check identified no issues (0 silenced).\n", "")


@pytest.mark.django_db(transaction=True)
def test_command__counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the test's database, in a process: Django sets logging up again for each command."""
    monkeypatch.setenv("LOG_FORMAT", "json")
    code, _out, err = manage_the_test_database("apply_retention")
    (entry,) = lines(err)
    assert (code, entry["counts"], entry["exit_code"]) == (0, {"deleted": 0, "sections": 2}, 0)
