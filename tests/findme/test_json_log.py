"""``LOG_FORMAT=json``: each line is one JSON object, and none has personal data."""

from __future__ import annotations

import io
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

from findme.core.commands import running
from findme.json_log import JsonLines
from findme.web.request_log import Reason, Stderr
from tests.factories import UserFactory
from tests.support.commands import manage as manage_the_test_database
from tests.support.processes import PRODUCTION, manage

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
    """Return the exception with a traceback."""
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


@pytest.mark.parametrize("logger", ["privacy.admin.execution", "django.request", "root", "asyncio"])
def test_exception__kind_and_place_without_its_words(logger: str) -> None:
    error = raised(ValueError(f"{NAME} <{EMAIL}>"), raised(KeyError(BIO)))
    entry = logged(logger, "It failed: %s", 5, error=error)
    assert entry["message"] == "It failed: 5"
    assert entry["exception"] == ["ValueError", "KeyError"]
    assert [place.rpartition(" ")[2] for place in entry["where"]] == ["raised"]


@pytest.mark.django_db
def test_exception__of_a_row_that_postgresql_refuses() -> None:
    """Its message contains the address, its DETAIL the complete row."""
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
    assert entry["message"] == "(...) ...; args=...; alias=..."
    assert logged("other", "%(who)s has %(count)d", {"who": NAME, "count": 4})["message"] == "... has 4"


class Whole(int):
    def __str__(self) -> str:
        return NAME


@pytest.mark.parametrize(
    ("message", "args", "words"),
    [
        ("at %.4f, %f of %s", (52.5163, 13.3777, 52.5163), "at ..., ... of ..."),
        ("at %5.1e %g%% %d%%f", (52.5163, 13.3777, 4), "at ... ...% 4%f"),
        ("at %(lat).4f with %(count)03d", ({"lat": 52.5163, "count": 4},), "at ... with 004"),
        ("%s and %d", (Whole(5), Whole(5)), "... and ..."),
        ("%d of %s, %s", (3, True, None), "3 of True, ..."),
        ("%x %c %r", (255, NAME, NAME), "ff ... '...'"),
    ],
)
def test_record__of_another_package__whole_numbers_only(message: str, args: tuple[object, ...], words: str) -> None:
    """A float may be a location."""
    assert logged("elsewhere", message, *args)["message"] == words


@pytest.mark.parametrize("logger", ["elsewhere", "django.request", "findmeelse"])
def test_record__extra_of_another_package__is_left_out(logger: str) -> None:
    extra: dict[str, Any] = {"reason": NAME, "counts": {NAME: 1}, "duration_seconds": 52.5163, "exit_code": EMAIL, "status_code": NAME}
    assert set(logged(logger, "It failed", **extra)) == {"time", "level", "logger", "message", "process", "command"}


def test_record__reason_of_a_refusal() -> None:
    assert logged("django.request", "no", reason=Reason("CSRF"), status_code=403)["reason"] == "CSRF"
    assert "status_code" not in logged("elsewhere", "no", status_code=403)


class Broken:
    """An argument, message or attribute that cannot be formatted. Its error contains a user's name."""

    def __str__(self) -> str:
        raise RuntimeError(NAME)

    __repr__ = __str__


class BrokenMapping(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError(NAME)

    def __getitem__(self, key: str) -> object:
        raise RuntimeError(NAME)


class BrokenError(Exception):
    @property
    def diag(self) -> object:
        raise RuntimeError(NAME)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(NAME)

    __hash__ = Exception.__hash__


@pytest.mark.parametrize("logger", ["findme.x", "elsewhere"])
@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("It is %s", (Broken(),)),
        ("It is %(a)s", (BrokenMapping(a=1),)),
        (Broken(), ()),
        (Broken(), (1,)),
        ("%d", (10**5000,)),
    ],
    ids=["argument", "mapping", "message", "message with arguments", "huge number"],
)
def test_record__that_raises__is_written(logger: str, message: Any, args: tuple[object, ...]) -> None:
    entry = logged(logger, message, *args)
    assert entry["logger"] == logger and "message" in entry


@pytest.mark.parametrize("logger", ["findme.x", "elsewhere"])
def test_record__argument_without_a_class__is_written(logger: str) -> None:
    class Classless(Broken):
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise RuntimeError(NAME)

    assert logged(logger, "It is %s and %s", Classless(), 4, counts=Classless(), request=Classless())["level"] == "ERROR"


@pytest.mark.parametrize("logger", ["findme.x", "elsewhere"])
@pytest.mark.parametrize("value", [Broken(), float("nan"), {1: Broken()}, {(1, 2): 3}], ids=["broken", "nan", "inside", "key"])
def test_record__extra_or_exception_that_raises__is_written(logger: str, value: object) -> None:
    entry = logged(logger, "It failed", counts=value, reason=value, request=value, error=raised(BrokenError(), BrokenError()))
    assert entry["message"] == "It failed" if logger == "findme.x" else "... (somewhere:7)"
    assert "counts" not in entry


def test_record__diagnosis_of_another_kind__is_left_out() -> None:
    error = ValueError()
    error.diag = type("Diagnosis", (), {"sqlstate": NAME, "table_name": EMAIL})  # type: ignore[attr-defined]
    assert logged("findme.x", "It failed", error=error)["exception"] == ["ValueError"]


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.builds(Broken)), max_size=3))
def test_format__never_raises(message: str, args: list[object]) -> None:
    for name in ("findme.x", "elsewhere"):
        record = logging.LogRecord(name, logging.ERROR, "/srv/somewhere.py", 7, message, tuple(args), None)
        assert json.loads(JsonLines().format(record))["logger"] == name


def test_handler__record_that_cannot_be_written__has_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """``logging`` would print the arguments and a traceback."""
    handler = Stderr(io.StringIO())
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.handle(logging.LogRecord("elsewhere", logging.ERROR, "/srv/somewhere.py", 7, "%d of %s", (NAME, EMAIL), None))
    assert capsys.readouterr() == ("", "A log record cannot be written (TypeError): somewhere:7\n")


def test_handler__refusal_whose_reason_cannot_be_shown__is_written() -> None:
    out = io.StringIO()
    handler = Stderr(out)
    handler.setFormatter(JsonLines())
    record = logging.LogRecord("django.security.csrf", logging.WARNING, "/srv/somewhere.py", 7, "Forbidden (%s)", (Broken(),), None)
    record.__dict__["status_code"] = 403
    handler.handle(record)
    entry = json.loads(out.getvalue())
    assert (entry["message"], entry["status_code"]) == ("Forbidden (...)", 403)


def test_record__of_ours_masks_an_address() -> None:
    """Our code logs no address, but a message may quote an error of a driver."""
    assert logged("vectorstore.retention.drop", "Not dropped: %s", f"no {EMAIL}!")["message"] == "Not dropped: no <e-mail>"


@pytest.mark.parametrize("name", ["findme.x", "elsewhere"])
def test_record__that_cannot_be_formatted_is_written(name: str) -> None:
    assert logged(name, "%d users", NAME)["level"] == "ERROR"
    assert logged(name, "%s %s", 1)["level"] == "ERROR"


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.none()), max_size=3))
def test_record__of_another_package_never_has_a_text_of_its_arguments(message: str, args: list[object]) -> None:
    secret = "Wilhelmina"
    logged("elsewhere", message, *args, secret)
    logged("findme.x", message.replace(secret, ""), *args)


def test_request__route_and_not_address() -> None:
    """The address of a search contains a name."""
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
    remaining: Inner = field(default_factory=Inner)
    reasons: Mapping[str, int] = field(default_factory=lambda: {NAME: 1})


def test_counts__numbers_only() -> None:
    assert running.note_counts(Result()) == {"written": 3, "refused": 2, "remaining.length": 2}


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


@pytest.mark.at_length
def test_command__an_unknown_one_is_not_repeated() -> None:
    code, _out, err = manage("Wilhelmina", **PRODUCTION | {"LOG_FORMAT": "json"})
    assert (code, [entry["command"] for entry in lines(err)]) == (2, [None])
    assert "Wilhelmina" not in json.dumps(lines(err))


@pytest.mark.at_length
def test_command__text_has_no_such_line() -> None:
    assert manage("check", **PRODUCTION) == (0, "System check identified no issues (0 silenced).\n", "")


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_command__counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It uses the test's database, in a separate process, because Django configures logging again for each command."""
    monkeypatch.setenv("LOG_FORMAT", "json")
    code, _out, err = manage_the_test_database("apply_retention")
    (entry,) = lines(err)
    assert (code, entry["counts"], entry["exit_code"]) == (0, {"deleted": 0, "sections": 3, "rules": 0}, 0)
