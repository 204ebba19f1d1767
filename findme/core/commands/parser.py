"""The parser of every command, Django's own included: each wrong argument ends in one line and exit code 2."""

from __future__ import annotations

from argparse import PARSER, Action, ArgumentError
from typing import Any, NoReturn

from django.core import management
from django.core.management import base

from findme.core.errors import ends_of, one_line
from findme.core.program import NOT_DONE

LONGEST = 32_768
"""Characters of a value: more than any path, id or setting has."""
LONGEST_MESSAGE = 400


class Parser(base.CommandParser):
    """Refuses values that no option can mean, before a type or a command sees them."""

    def error(self, message: str) -> NoReturn:
        line = ends_of(one_line(ValueError(message)), LONGEST_MESSAGE)
        if self.called_from_command_line:
            self.exit(NOT_DONE, f"{line}. See {self.prog} --help\n")
        raise base.CommandError(f"Error: {line}")

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        # argparse passes all values of all arguments through this method. Python 3.11 removes the value of ``--option=--`` here, and then fails
        # with an IndexError or stores an empty list.
        for text in [] if action.nargs == PARSER else arg_strings:  # a subcommand's parser checks its own arguments
            if problem := _problem(text, is_option=bool(action.option_strings)):
                raise ArgumentError(action, problem)
        return super()._get_values(action, arg_strings)


def _problem(text: str, *, is_option: bool) -> str | None:
    if is_option and text in ("", "--"):
        return f"{text!r} is no value. Give one, or leave the option out"
    if "\0" in text:
        return "the value has a NUL character. Remove it"
    if len(text) > LONGEST:
        return f"the value has {len(text):,} characters, and at most {LONGEST:,} are possible"
    return None


def use_parser() -> None:
    """Have all commands use ``Parser``: Django names the class in two modules, and has no other way to replace it."""
    for module in (base, management):
        setattr(module, "CommandParser", Parser)  # noqa: B010
