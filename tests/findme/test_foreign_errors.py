"""Commands of Django and of other packages reject an argument with one line and exit code 2. A defect of ours keeps its traceback."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from findme.core.commands.base import FindmeCommand
from findme.core.commands.running import log_command
from findme.core.errors import LONGEST_LINE, LONGEST_VALUE, one_line
from findme.foreign_errors import refused_argument
from tests.support.commands import manage_here
from tests.support.processes import PRODUCTION, manage, python

LONG = "9" * 5000
BLANKS = "9 " * 2500


def refused(*arguments: object) -> str:
    """Return the error line of a command that ends with exit code 2."""
    code, out, err = manage_here(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err[:2000]
    return err


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nonsense"], "No installed app with label 'nonsense'. "),
        (["check", "accounts", "nonsense"], "No installed app with label 'nonsense'. "),
        (["dumpdata", "-e", "a.b.c"], "'a.b.c' is not a name of an app or model"),
        (["loaddata", "x", "-e", "a.b.c"], "'a.b.c' is not a name of an app or model"),
        (["axes_reset_ip", "zz"], "'zz' does not appear to be an IPv4 or IPv6 address"),
        (["axes_reset_ip_username", "zz", "x"], "'zz' does not appear to be an IPv4 or IPv6 address"),
        (["axes_reset_logs", "--age=2147483648"], "A number is too large: "),
        (["showmigrations", "a\nb"], "No installed app with label 'a b'."),
        (["showmigrations", "first", "second"], "No installed app with label 'first'."),
        (["makemigrations", "a\nb", "--check"], "No installed app with label 'a b'."),
        (["dumpdata", "--format=x"], "Unknown serialization format: x"),
    ],
)
def test_command__wrong_argument__is_one_line(arguments: list[str], words: str) -> None:
    assert words in refused(*arguments)


@pytest.mark.django_db
@pytest.mark.parametrize("value", [LONG, BLANKS], ids=["digits", "blanks"])
@pytest.mark.parametrize(
    "before",
    [
        ["dumpdata"],
        ["dumpdata", "-e"],
        ["dumpdata", "-o"],
        ["loaddata"],
        ["check"],
        ["showmigrations"],
        ["makemigrations", "--check"],
        ["migrate"],
        ["sqlmigrate", "accounts"],
        ["axes_reset_ip"],
        ["startapp"],
        ["erase_user", "--soft"],
        ["unlock_login"],
    ],
    ids=" ".join,
)
def test_command__long_value__is_shortened(before: list[str], value: str) -> None:
    assert value[: LONGEST_VALUE // 4] in (line := refused(*before, value))
    assert len(line) < LONGEST_VALUE + 300


def test_command__long_name__is_shortened() -> None:
    code, _out, err = manage_here(LONG)
    assert code == 2 and err.startswith("Unknown command: '999") and len(err) < LONGEST_VALUE + 100


def test_one_line__shortens_values_and_keeps_words() -> None:
    words = "The role's rows are many. " * 20 + "The user's is another."
    assert one_line(ValueError(words)) == words
    assert one_line(ValueError(f"no {LONG!r} here")) == f"no '{'9' * 99} ... {'9' * 99}' here"
    assert len(one_line(ValueError("word " * 5000))) <= LONGEST_LINE + 5


# --- Defects -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), IndexError("x"), AttributeError("x")])
def test_refused_argument__kinds_of_a_defect(error: Exception) -> None:
    assert refused_argument(error) is None


@pytest.mark.parametrize("error", [ValidationError(["one", "two"]), ValidationError({"field": ["one", "two"]})])
def test_refused_argument__of_a_validation(error: ValidationError) -> None:
    assert refused_argument(error) == "one; two. Correct the arguments; --traceback shows where they were rejected."


@pytest.mark.parametrize("kind", [ValueError, LookupError, OverflowError])
def test_command__defect_of_our_code_in_djangos_command__keeps_its_traceback(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system check of ours calls the function that this test breaks."""

    def broken(*_: object, **__: object) -> None:
        raise kind("a defect")

    monkeypatch.setattr("findme.production.missing_settings", broken)
    with pytest.raises(kind, match="a defect"):
        manage_here("check", "--deploy")


@pytest.mark.at_length
def test_command__with_traceback__shows_where_it_was_refused() -> None:
    code, out, err = manage("check", "nonsense", "--traceback", DEBUG="on")
    assert (code, out) == (2, "") and "Traceback (most recent call last)" in err and "get_app_config" in err


# --- Log line ------------------------------------------------------------------------------------------------------------------------


def last_line(err: str) -> dict[str, object]:
    return dict(json.loads(err.splitlines()[-1]))


@pytest.mark.at_length
def test_log__exit_code_of_a_refused_argument() -> None:
    code, _out, err = manage("check", "nonsense", **PRODUCTION | {"LOG_FORMAT": "json"})
    entry = last_line(err)
    assert (code, entry["exit_code"], entry["message"]) == (2, 2, "The command check ended with code 2.")


BROKEN = (
    "import sys; sys.argv = ['manage.py', 'check']; import django.core.management.commands.check as broken;"
    " broken.Command.handle = lambda *_, **__: {}['x']; from findme.__main__ import manage; sys.exit(manage())"
)


def test_log__exit_code_of_a_defect() -> None:
    code, _out, err = python("-c", BROKEN, **PRODUCTION | {"LOG_FORMAT": "json"})
    entries = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert (code, [entry["exit_code"] for entry in entries]) == (2, [2])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError(), 2),
        (KeyboardInterrupt(), 130),
        (SystemExit(3), 3),
        (SystemExit(None), 0),
        (SystemExit("said"), 1),
    ],
)
def test_log__exit_code_of_an_exception(error: BaseException, code: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "findme.command"), pytest.raises(type(error)), log_command():
        raise error
    (record,) = caplog.records
    assert record.__dict__["exit_code"] == code and record.getMessage() == f"The command unknown ended with code {code}."


def test_commands__of_other_packages_exist() -> None:
    """The examples above are commands of other packages."""
    for name in ("check", "dumpdata", "loaddata", "axes_reset_ip", "axes_reset_logs", "showmigrations"):
        command = load_command_class(get_commands()[name], name)
        assert isinstance(command, BaseCommand) and not isinstance(command, FindmeCommand)
