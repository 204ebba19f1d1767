"""What any client can cause in the log: one short line for each request, without a traceback and personal data."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from findme.json_log import JsonLines
from findme.web.error_pages import unavailable
from findme.web.request_log import EMAIL as EMAIL_PATTERN
from findme.web.request_log import LONGEST, RequestLine, Stderr, in_one_line, shown
from tests.support.waiting import wait_until
from tests.support.web import LoginForm, Web, serving

EMAIL = "Wilhelmina.Quux@example.org"
WORDS = ("Wilhelmina", "Quux", "example.org", "theremin")
LONG = "x" * 3000
FORM = "application/x-www-form-urlencoded"
LONGEST_LINE = 500
PRODUCTION = {"DEBUG": "off", "SECURE_SSL_REDIRECT": "off", "DJANGO_SETTINGS_MODULE": "tests.production_settings"}


def hostile(web: Web, form: LoginForm) -> list[int]:
    """Send hostile requests and return the statuses."""
    login, cookie = "/admin/login/", {"Cookie": form.cookie}
    posted = {"Content_Type": FORM, **cookie}
    token = urlencode({"csrfmiddlewaretoken": form.token})
    boundary = {"Content_Type": "multipart/form-data; boundary=", **cookie}
    requests: list[tuple[str, str, str | None, dict[str, str]]] = [
        ("GET", f"/{EMAIL}/?q={EMAIL}", None, {}),
        ("GET", "/Wilhelmina.Quux%2540example.org?bio=theremin", None, {}),
        ("GET", f"/{LONG}", None, {}),
        ("GET", "/%0d%0aERROR%1b[31m%e2%80%a8%ff%00%F0%9F%92%98", None, {}),
        ("GET", "/admin/", None, {"Host": "evil.example"}),
        ("GET", f"/admin/?q={EMAIL}", None, {"Host": LONG}),
        ("GET", "/admin/", None, {"Host": "\x1b[2J" + EMAIL}),
        ("POST", f"{login}?next={EMAIL}", "username=theremin", {"Content_Type": FORM}),
        ("POST", login, token, {**posted, "Origin": f"https://evil.example/{EMAIL}"}),
        ("POST", login, f"{token}&" + "&".join(f"theremin{number}=1" for number in range(1100)), posted),
        ("POST", login, "theremin", {**posted, "Content_Length": "5000000"}),
        ("POST", login, "theremin", boundary),
        ("DELETE", login, "theremin", {**posted, "X_CSRFToken": form.token}),
        (LONG, login, "theremin", {}),
    ]
    return [web.ask(method, path, body, **headers).status for method, path, body, headers in requests]


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log__one_line_for_each_refused_request(tmp_path: Path, log_format: str) -> None:
    log = tmp_path / "log"

    def lines() -> list[str]:
        return log.read_text().splitlines()

    with serving(log, LOG_FORMAT=log_format, **PRODUCTION) as web:
        form = LoginForm("csrftoken=0123456789abcdefghijklmnopqrstuv", "0123456789abcdefghijklmnopqrstuv")
        statuses = hostile(web, form)
        assert {status // 100 for status in statuses} == {4}, str(statuses)
        wait_until(lambda: len(lines()) >= len(statuses))
        assert web.ask("GET", "/healthz").status == 200
    written = log.read_text()
    assert len(lines()) == len(statuses), written
    assert [line for line in lines() if len(line) > LONGEST_LINE] == []
    assert written.isascii() and not re.search(r"[\x00-\x09\x0b-\x1f]", written)
    assert [word for word in (*WORDS, "Traceback", "ERROR django") if word in written] == []
    check = check_json if log_format == "json" else check_text
    check(lines(), statuses)


def check_text(lines: list[str], statuses: list[int]) -> None:
    parts = [re.match(r"[\d-]+ [\d:,]+ WARNING [\w.]+: (.*)$", line) for line in lines]
    messages = [part[1] if part else "" for part in parts]
    assert [message.partition(": ")[0] for message in messages] == [f"The request was answered with {status}" for status in statuses]
    assert messages[0].endswith("GET '<e-mail>'") and messages[1].endswith("GET '<e-mail>'")
    assert "\\r\\nERROR\\x1b[31m\\u2028" in messages[3]
    assert messages[4].endswith("GET '/admin/' (DisallowedHost: 'evil.example')")
    assert messages[7].endswith("POST '/admin/login/' (CSRF: 'CSRF cookie not set.')")
    assert messages[8].endswith("(CSRF: 'Origin checking failed - https:<e-mail> does not match any trusted origins.')")
    assert [message.rpartition(" ")[2] for message in messages[9:12]] == [
        "(TooManyFieldsSent)",
        "(RequestDataTooBig)",
        "(MultiPartParserError)",
    ]
    assert ": OTHER '/admin/login/'" in messages[13]


def check_json(lines: list[str], statuses: list[int]) -> None:
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [entry["status_code"] for entry in entries] == statuses
    assert {entry["level"] for entry in entries} == {"WARNING"}
    assert {entry["message"] for entry in entries} == {f"The request was answered with {status}..." for status in statuses}
    assert [entry["method"] for entry in entries[12:]] == ["DELETE", "OTHER"]
    assert [entry.get("reason") for entry in entries[7:12]] == [
        "CSRF",
        "CSRF",
        "TooManyFieldsSent",
        "RequestDataTooBig",
        "MultiPartParserError",
    ]
    assert entries[12]["route"] == "admin/login/"


def record_of(status: int, level: int, error: BaseException | None = None, name: str = "django.request", **extra: Any) -> logging.LogRecord:
    found = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(name, level, "/x.py", 1, "Words: %s", ("/admin/",), found)
    record.__dict__.update(extra, status_code=status)
    return record


def test_in_one_line__of_a_refusal_leaves_the_record_to_other_handlers() -> None:
    """Another handler, such as that of an error reporter, may need the traceback."""
    record = record_of(400, logging.ERROR, ValueError(EMAIL), "django.security.SuspiciousOperation", request=RequestFactory().get("/x"))
    reported = in_one_line(record)
    assert (reported.levelname, reported.exc_info) == ("WARNING", None)
    assert reported.getMessage() == "The request was answered with 400: GET '/x' (ValueError)"
    assert (record.levelname, record.getMessage()) == ("ERROR", "Words: /admin/") and record.exc_info is not None


def test_in_one_line__a_failure_keeps_its_traceback() -> None:
    reported = in_one_line(record_of(500, logging.ERROR, LookupError("x"), request=RequestFactory().get(f"/{EMAIL}")))
    assert reported.getMessage() == "The request was answered with 500: GET '<e-mail>' (LookupError)"
    assert reported.levelname == "ERROR" and reported.exc_info is not None


@pytest.mark.parametrize("name", ["findme.web.error_pages", "django.server", "django.requests.other"])
def test_in_one_line__other_records_stay(name: str) -> None:
    record = record_of(400, logging.ERROR, name=name)
    assert in_one_line(record) is record


def test_in_one_line__without_a_request() -> None:
    """Django's handler for ASGI logs such a record."""
    reported = in_one_line(record_of(400, logging.WARNING, UnicodeDecodeError("utf-8", b"x", 0, 1, "y")))
    assert reported.getMessage() == "The request was answered with 400 (UnicodeDecodeError)"


def test_stderr__a_level_above_warning_leaves_refusals_out(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Django logs a SuspiciousOperation as an error, but it is a refusal."""
    record = record_of(400, logging.ERROR, ValueError("x"), "django.security.SuspiciousOperation")
    with caplog.at_level(logging.ERROR, "django.security.SuspiciousOperation"):
        assert not Stderr().handle(record)
    with caplog.at_level(logging.WARNING, "django.security.SuspiciousOperation"):
        assert Stderr().handle(record)
    assert capsys.readouterr().err == "The request was answered with 400 (ValueError)\n"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("@?%40 \n/")), max_size=1000))
def test_shown__is_short_and_harmless(text: str) -> None:
    found = shown(text)
    assert found.isascii() and found.isprintable() and len(found) <= LONGEST * 10 + 30
    assert not re.search(r"\w@\w", found)


def test_email__long_word__takes_linear_time() -> None:
    """An expression that starts again at each character would take hours for this text."""
    assert EMAIL_PATTERN.sub("", "a" * 1_000_000) == "a" * 1_000_000
    assert EMAIL_PATTERN.sub("x", f"<{EMAIL}>, a {EMAIL},") == "<x>, a x,"


def test_request_line__of_a_method_that_no_one_knows() -> None:
    request = RequestFactory().generic("WILHELMINA", "/x?y=z")
    assert str(RequestLine(request)) == "OTHER '/x'"


def test_json__of_ours_leaves_the_address_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        unavailable(RequestFactory().get(f"/admin/{LONG}"), OperationalError("no server"))
    entry = json.loads(JsonLines().format(caplog.records[0]))
    assert (entry["message"], entry["method"], entry["status_code"]) == ("PostgreSQL is unavailable: ...: no server", "GET", 503)


def test_settings__every_record_goes_through_it() -> None:
    from django.conf import settings

    assert settings.LOGGING["handlers"] == {"stderr": {"class": f"{Stderr.__module__}.{Stderr.__name__}", "formatter": "text"}}
