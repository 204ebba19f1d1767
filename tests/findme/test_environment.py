"""Settings in the environment and ``.env``: strict types, the environment first, and each setting documented."""

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
    refuse_misspelled_names,
    unknown_names,
)
from tests.support.processes import python

PATH = os.environ.get("PATH", os.defpath)


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


@pytest.mark.parametrize(
    ("limits", "text", "wanted"),
    [
        ({"most": 36_500}, "36501", " from 1 to 36500"),
        ({"least": 0, "most": 9}, "99999999", " from 0 to 9"),
        ({}, "2147483648", ", 1 or more"),
        ({}, "1" * 5000, ", 1 or more"),
        ({}, "\u0663", ", 1 or more"),  # an Arabic digit, which int() reads
    ],
)
def test_count__out_of_its_limits(limits: dict[str, int], text: str, wanted: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured) as raised:
        env.count("X", default=2, **limits)
    assert str(raised.value) == f"X is {text!r}: it must be a whole number{wanted}."


@pytest.mark.parametrize("text", ["0", "9"])
def test_count__at_its_limits(text: str) -> None:
    os.environ["X"] = text
    assert env.count("X", default=2, least=0, most=9) == int(text)


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


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=5 # seconds", "5"),
        ("X=5\t# seconds", "5"),
        ("X=a#b", "a#b"),
        ("X=#b", "#b"),
        ("X= # none", ""),
        ("X='a # b' # c", "a # b"),
        ("X='it's' # a 'quoted' comment", "it's"),
        ('X="a # \\"b" # c', 'a # "b'),
        ('X="a\\nb"', "a\\nb"),
        ("X=''", ""),
        ("export X=a b  ", "a b"),
    ],
)
def test_dotenv__a_comment_behind_a_value(line: str, value: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(line)
    read_dotenv(tmp_path / ".env")
    assert settings() == {"X": value}


@pytest.mark.parametrize("line", ["SECRET_KEY='secret", 'SECRET_KEY="secret', "SECRET_KEY='a' secret", 'SECRET_KEY="a"secret'])
def test_dotenv__a_quote_without_an_end(line: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(line)
    with pytest.raises(ImproperlyConfigured, match=r"\.env, line 1: the quote at the start of the value has no end") as raised:
        read_dotenv(tmp_path / ".env")
    assert "secret" not in str(raised.value)


@pytest.fixture
def fresh_names() -> Iterator[None]:
    """The state in which the settings were read, but no ``.env``."""
    with mock.patch.dict("findme.environment._in_dotenv", clear=True), mock.patch.object(env, "asked", names_that_are_read()):
        yield


@pytest.mark.usefixtures("fresh_names")
@pytest.mark.parametrize(("name", "meant"), [("QDRANT_TIMOUT", "QDRANT_TIMEOUT"), ("DATABSE_URL", "DATABASE_URL"), ("debug", "DEBUG")])
def test_dotenv__a_misspelled_name_is_refused(name: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# ours\n{name}=5\n")
    read_dotenv(tmp_path / ".env")
    with pytest.raises(ImproperlyConfigured) as raised:
        refuse_misspelled_names()
    assert str(raised.value) == f"{tmp_path / '.env'}, line 2: {name} is not a setting. Did you mean {meant}?"


@pytest.mark.usefixtures("fresh_names")
def test_dotenv__another_name_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QDRANT_TIMEOUT=5\nPGSSLROOTCERT=x\nCOMPOSE_PROJECT_NAME=y\nTELEPHONE=z\n")
    read_dotenv(tmp_path / ".env")
    refuse_misspelled_names()
    assert unknown_names() == f"Unknown names were ignored: TELEPHONE ({tmp_path / '.env'}, line 4). .env.example lists all settings."


def with_dotenv(path: Path, command: str) -> str:
    """Return a program that runs ``manage.py`` with this command and another ``.env``."""
    return f"import findme.environment as e; from pathlib import Path; e.read_dotenv.__defaults__ = (Path({str(path)!r}),); import runpy, sys; sys.argv = ['manage.py', {command!r}]; runpy.run_path('manage.py', run_name='__main__')"


def test_dotenv__a_misspelled_name__ends_a_command(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QDRANT_TIMOUT=5\n")
    program = with_dotenv(tmp_path / ".env", "showmigrations")
    assert python("-c", program, PATH=PATH) == (
        2,
        "",
        f"{tmp_path / '.env'}, line 1: QDRANT_TIMOUT is not a setting. Did you mean QDRANT_TIMEOUT?\n",
    )


@pytest.mark.at_length("check", "help")
@pytest.mark.parametrize("command", ["version", "help", "check"])
def test_dotenv__settings_are_not_reported_by_a_command_that_needs_none(command: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEBUG=off\nSECRET_KEY=x\nQDRANT_URL=http://127.0.0.1:9\nTELEPHONE=1\n")
    code, _out, err = python("-c", with_dotenv(tmp_path / ".env", command), PATH=PATH)
    line = f"Unknown names were ignored: TELEPHONE ({tmp_path / '.env'}, line 4). .env.example lists all settings.\n"
    assert (code, err) == (0, line)


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
        == f"{dotenv}, line 2: it must be NAME=value, without a space before or after the name, or a comment that begins with #."
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
        "Not set: DATABASE_URL (postgresql://USER:PASSWORD@HOST:PORT/NAME); SECRET_KEY (50 random characters, kept secret);"
        " ALLOWED_HOSTS (the host names of this site, separated by commas)."
        " Set what is missing in the environment or in .env, as .env.example shows."
    )
    os.environ |= dict.fromkeys(REQUIRED_IN_PRODUCTION, "x") | {"SECRET_KEY": ""}
    assert missing_settings() == (
        "Not set: SECRET_KEY (50 random characters, kept secret). Set what is missing in the environment or in .env, as .env.example shows."
    )
    os.environ["SECRET_KEY"] = "x"
    assert missing_settings() is None


def names_that_are_read() -> set[str]:
    """Return the settings that the code reads through ``env``."""
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


def test_networks() -> None:
    os.environ["X"] = "10.0.0.1, 192.168.0.0/16,2001:db8::/32 , unix"
    assert env.networks("X", words=("unix",)) == ["10.0.0.1", "192.168.0.0/16", "2001:db8::/32", "unix"]
    del os.environ["X"]
    assert env.networks("X") == []


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.256", "Unix"])
def test_networks__wrong_value(text: str) -> None:
    os.environ["X"] = f"10.0.0.1,{text}"
    with pytest.raises(ImproperlyConfigured) as raised:
        env.networks("X", words=("unix",))
    assert str(raised.value) == (f"X has {text!r}: it must be an IP address, or a network such as 10.0.0.0/8 without host bits, or 'unix'.")


def test_names() -> None:
    os.environ["X"] = "film-storage, call_service,film-storage"
    assert env.names("X") == ["film-storage", "call_service"]


@pytest.mark.parametrize("text", ["Film", "a b", "-a", "ann@example.com", "a" * 41])
def test_names__wrong_value(text: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured, match=f"^X has '{text}': a name has at most 40 small letters"):
        env.names("X")


def test_rules() -> None:
    os.environ["X"] = "matches=730, call_recordings = 90"
    assert env.rules("X") == {"matches": 730, "call_recordings": 90}


@pytest.mark.parametrize("text", ["matches", "matches=", "matches=0", "matches=-1", "matches=1.5", "Matches=1", "matches=100000", "=5"])
def test_rules__wrong_value(text: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured, match=f"^X has '{text}': it must be NAME=DAYS, each name once, such as matches=730"):
        env.rules("X")


def test_rules__a_name_twice() -> None:
    os.environ["X"] = "matches=1,matches=2"
    with pytest.raises(ImproperlyConfigured, match=r"^X has 'matches=2': it must be NAME=DAYS"):
        env.rules("X")


def test_file_stores() -> None:
    os.environ["X"] = "https://cdn.example/videos/=s3://findme/videos/, s3://calls/a=b/=/srv/calls"
    assert env.file_stores("X") == {"https://cdn.example/videos/": "s3://findme/videos/", "s3://calls/a=b/": "/srv/calls"}


@pytest.mark.parametrize(
    "text", ["x", "https://cdn.example=s3://findme", "https://cdn.example/videos=s3://findme", "https:///=s3://findme", "v/=films", "/=/"]
)
def test_file_stores__wrong_value(text: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured, match=f"^X has '{text}': it must be PREFIX/=URL, such as https://cdn.example/videos/=s3://"):
        env.file_stores("X")


def test_file_stores__a_prefix_twice() -> None:
    os.environ["X"] = "v/=/srv/a,v/=/srv/b"
    with pytest.raises(ImproperlyConfigured, match=r"^X has the prefix 'v/' twice: an address has one store"):
        env.file_stores("X")


def test_days() -> None:
    os.environ["X"] = "12-25, 2027-03-29,02-29"
    assert env.days("X") == ["12-25", "2027-03-29", "02-29"]


@pytest.mark.parametrize("text", ["2027-02-29", "13-01", "25.12.", "2027", "x", "20270329", "2027-W01-1"])
def test_days__wrong_value(text: str) -> None:
    os.environ["X"] = text
    with pytest.raises(
        ImproperlyConfigured, match=f"^X has '{text}': it must be a day such as 2027-03-29, or such as 12-25 for every year"
    ):
        env.days("X")


def test_time_zone() -> None:
    os.environ["X"] = "Europe/Berlin"
    assert env.time_zone("X", default="UTC") == "Europe/Berlin"
    os.environ["X"] = ""
    assert env.time_zone("X", default="UTC") == "UTC"


@pytest.mark.parametrize("text", ["Berlin", "../etc/passwd", "/etc/localtime", "Europe", "x\n"])
def test_time_zone__wrong_value(text: str) -> None:
    os.environ["X"] = text
    with pytest.raises(ImproperlyConfigured, match="it must be a time zone such as Europe/Berlin"):
        env.time_zone("X", default="UTC")
