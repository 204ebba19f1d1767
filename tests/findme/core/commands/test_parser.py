"""Options of all commands, including Django's: an impossible value ends in one line and exit code 2."""

from __future__ import annotations

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import BaseCommand, CommandError, call_command, get_commands, load_command_class

from findme.core.commands.base import FindmeCommand
from findme.core.commands.parser import LONGEST, LONGEST_MESSAGE
from tests.support.commands import manage_here
from tests.support.processes import manage

VALUES = {"two dashes": "--", "empty": "", "NUL": "a\0b", "1 MB": "x" * (1 << 20), "1 MB of lines": "x\n" * (1 << 19)}
PROBLEMS = {
    "two dashes": "'--' is not a value. Give a value or leave out the option.",
    "empty": "'' is not a value. Give a value or leave out the option.",
    "NUL": "the value has a NUL character. Remove it.",
    "1 MB": f"the value has 1,048,576 characters, and the maximum is {LONGEST:,}.",
    "1 MB of lines": f"the value has 1,048,576 characters, and the maximum is {LONGEST:,}.",
}


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(command: BaseCommand, *_args: Any, **_options: Any) -> None:
        raise AssertionError(f"{type(command).__module__} was run")

    for kind in (BaseCommand, FindmeCommand):
        monkeypatch.setattr(kind, "execute", execute)


def parser_of(name: str) -> ArgumentParser:
    command = load_command_class(get_commands()[name], name)
    setattr(command, "_called_from_command_line", True)  # noqa: B010  # as run_from_argv does, without a declaration in Django
    return command.create_parser("manage.py", name)


def options_of(parser: ArgumentParser, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Action]]:
    """Yield each option with a value, and the subcommands before it."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for name, inner in action.choices.items():
                yield from options_of(inner, (*before, name))
        elif action.option_strings and action.nargs != 0:
            yield before, action


def attempts(parser: ArgumentParser, value: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the arguments for each option, in each notation."""
    for before, action in options_of(parser):
        for option in action.option_strings:
            if option.startswith("--"):
                yield option, [*before, f"{option}={value}"]
            elif value:  # -v without a value takes the next argument
                yield option, [*before, f"{option}{value}"]
            if value != "--":
                yield option, [*before, option, value]


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("name", sorted(get_commands()))
def test_parser__impossible_value__is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of(name)
    for kind, value in VALUES.items():
        tried = 0
        for option, arguments in attempts(parser, value):
            with pytest.raises(SystemExit) as ended:
                parser.parse_args(arguments)
            out, err = capsys.readouterr()
            assert (ended.value.code, out, err.count("\n")) == (2, "", 1), (option, kind, err[:1000])
            named, _, problem = err.partition(": ")
            assert option in named and problem.startswith(f"{PROBLEMS[kind]} See manage.py {name} "), err[:1000]
            tried += 1
        assert tried >= 4  # --verbosity, -v, --settings and --pythonpath


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("name", sorted(get_commands()))
def test_command__impossible_value__is_one_line_and_nothing_runs(name: str) -> None:
    for kind, value in VALUES.items():
        option, arguments = list(attempts(parser_of(name), value))[-1]
        code, out, err = manage_here(name, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err[:1000]
        assert f"{option}: {PROBLEMS[kind]}" in err


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("name", sorted(get_commands()))
def test_command__unknown_option_or_wrong_value__is_one_short_line(name: str) -> None:
    for value in VALUES.values():
        for arguments in ([f"--no-such-option={value}"], [f"--verbosity={value[:LONGEST]}"]):
            code, out, err = manage_here(name, *arguments)
            assert (code, out, err.count("\n")) == (2, "", 1), err[:1000]
            assert len(err) < LONGEST_MESSAGE + 100


def test_command__from_python__raises() -> None:
    with pytest.raises(CommandError, match="'--' is not a value"):
        call_command("reindex_qdrant", "--retain=--")


def test_command__two_dashes_before_positional_arguments__are_accepted() -> None:
    with pytest.raises(AssertionError, match="upsert_embeddings was run"):
        manage_here("upsert_embeddings", "--model=m", "--", "--file.jsonl")


@pytest.mark.at_length
@pytest.mark.parametrize("arguments", [("reindex_qdrant", "--retain=--"), ("migrate", "--settings=--"), ("check", "-v--")])
def test_manage__two_dashes__in_a_process(arguments: tuple[str, ...]) -> None:
    code, out, err = manage(*arguments, DEBUG="on")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'--' is not a value. Give a value or leave out the option. See manage.py " in err
