"""What the environment and ``.env`` say: strictly typed, the environment first, and every setting documented."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured

from findme.environment import (
    BASE_DIR,
    REQUIRED_IN_PRODUCTION,
    default_to_debug,
    embedded_postgres_folder,
    env,
    missing_settings,
    read_dotenv,
)


@pytest.fixture(autouse=True)
def empty_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ, clear=True):
        yield


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", True), ("True", True), ("1", True), ("yes", True), ("off", False), ("FALSE", False), ("0", False), ("n", False)],
)
def test_switch(text: str, value: bool) -> None:
    os.environ["DEBUG"] = text
    assert env.bool("DEBUG", default=not value) is value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("bool", "flase", "X is 'flase': it must be on or off."),
        ("bool", "2", "X is '2': it must be on or off."),
        ("int", "five", "X is 'five': it must be a whole number, 0 or more."),
        ("int", "-1", "X is '-1': it must be a whole number, 0 or more."),
        ("count", "1.5", "X is '1.5': it must be a whole number, 1 or more."),
        ("count", "-1", "X is '-1': it must be a whole number, 1 or more."),
        ("count", "0", "X is '0': it must be a whole number, 1 or more."),
        ("int", "1.5", "X is '1.5': it must be a whole number, 0 or more."),
        ("float", "ten", "X is 'ten': it must be a number, 0 or more."),
        ("float", "nan", "X is 'nan': it must be a number, 0 or more."),
        ("float", "inf", "X is 'inf': it must be a number, 0 or more."),
        ("float", "-0.1", "X is '-0.1': it must be a number, 0 or more."),
    ],
)
def test_value_of_the_wrong_kind_is_named(kind: str, text: str, message: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured) as raised:
        getattr(env, kind)("X", default=0)
    assert str(raised.value) == message


@pytest.mark.parametrize(("text", "value"), [("", 2), ("1", 1), ("12", 12)])
def test_count(text: str, value: int) -> None:
    os.environ["X"] = text
    assert env.count("X", default=2) == value


def test_value_without_a_default_is_asked_for() -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        env.int("X")
    assert str(raised.value) == "X is not set: it must be a whole number, 0 or more."


def test_values_are_taken_as_they_are() -> None:
    os.environ |= {"A": "$B", "B": "other", "N": "0", "F": "1e3", "L": " a, b ,,c", "EMPTY": ""}
    assert env.str("A") == "$B"  # and not the value of B
    assert (env.int("N", default=5), env.float("F", default=0.0), env.list("L", default=[])) == (0, 1000.0, ["a", "b", "c"])
    assert (env.str("EMPTY", default="x"), env.int("EMPTY", default=7), env.bool("EMPTY", default=True)) == ("x", 7, True)


def test_folder__a_relative_one_is_in_the_checkout(tmp_path: Path) -> None:
    assert embedded_postgres_folder() == BASE_DIR / ".findme" / "postgres"
    os.environ["EMBEDDED_POSTGRES_DIR"] = "elsewhere/pg"
    assert embedded_postgres_folder() == BASE_DIR / "elsewhere" / "pg"
    os.environ["EMBEDDED_POSTGRES_DIR"] = str(tmp_path)
    assert embedded_postgres_folder() == tmp_path


def test_dotenv__the_environment_wins(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# a comment\n\nSECRET_KEY='$a#b=c d '\nexport LOG_LEVEL=INFO\nDEBUG=off\nQDRANT_URL=from-the-file\n")
    os.environ |= {"DEBUG": "on", "QDRANT_URL": ""}
    read_dotenv(dotenv)
    assert settings() == {"DEBUG": "on", "QDRANT_URL": "", "SECRET_KEY": "$a#b=c d ", "LOG_LEVEL": "INFO"}


def test_dotenv__none_is_no_error(tmp_path: Path) -> None:
    read_dotenv(tmp_path / ".env")
    assert settings() == {}


@pytest.mark.parametrize("line", ["SECRET_KEY = secret", " SECRET_KEY=secret", "secret"])
def test_dotenv__a_line_that_is_no_setting_is_named_and_not_repeated(line: str, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"DEBUG=on\n{line}\n")
    with pytest.raises(ImproperlyConfigured) as raised:
        read_dotenv(dotenv)
    assert (
        str(raised.value)
        == f"{dotenv}, line 2: it must be NAME=value, without a blank before or after the name, or a comment that begins with #."
    )


def test_dotenv__another_encoding_is_named(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes("SECRET_KEY=é".encode("latin-1"))
    with pytest.raises(ImproperlyConfigured, match=re.escape(f"{dotenv} is not UTF-8 text.")):
        read_dotenv(dotenv)


@pytest.mark.parametrize(("said", "after"), [({}, "on"), ({"DEBUG": ""}, "on"), ({"DEBUG": "off"}, "off")])
def test_default_to_debug__unless_it_is_said(said: dict[str, str], after: str) -> None:
    os.environ |= said
    with mock.patch("findme.environment.read_dotenv"):
        default_to_debug()
    assert os.environ["DEBUG"] == after


def test_missing_settings__all_in_one_line() -> None:
    assert missing_settings() == (
        "Not set: DATABASE_URL (postgresql://USER:PASSWORD@HOST:PORT/NAME); SECRET_KEY (50 random characters that nobody else knows);"
        " ALLOWED_HOSTS (the names that this site is reached by, separated by commas)."
        " Set what is missing in the environment or in .env, as .env.example shows."
    )
    os.environ |= dict.fromkeys(REQUIRED_IN_PRODUCTION, "x") | {"SECRET_KEY": ""}
    assert missing_settings() == (
        "Not set: SECRET_KEY (50 random characters that nobody else knows). Set what is missing in the environment or in .env, as .env.example shows."
    )
    os.environ["SECRET_KEY"] = "x"
    assert missing_settings() is None


def names_that_are_read() -> set[str]:
    """The settings that the source asks ``env`` for."""
    calls = [
        node for file in BASE_DIR.glob("findme/**/*.py") for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
    ]
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "env"
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def test_example__documents_every_setting_and_no_other() -> None:
    lines = (BASE_DIR / ".env.example").read_text().splitlines()
    named = [match[1] for line in lines if (match := re.match(r"#?([A-Z_]+)=", line))]
    assert len(named) == len(set(named))
    assert set(named) == names_that_are_read()
    for before, line in pairwise(lines):
        assert not re.match(r"#[A-Z_]+=", line) or before.startswith("# "), f"{line} has no comment"


def test_example__may_be_used_as_it_is(tmp_path: Path) -> None:
    read_dotenv(BASE_DIR / ".env.example")
    assert settings() == {}
