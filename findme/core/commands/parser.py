"""The argument parser of all commands, including Django's.

A wrong argument ends in one line on stderr and exit code 2.
"""

from __future__ import annotations

from argparse import PARSER, Action, ArgumentError
from typing import Any, NoReturn

from django.core import management
from django.core.management import base

from findme.core.errors import ends_of, one_line
from findme.core.program import NOT_DONE

LONGEST = 32_768
"""Maximum characters of a value. Every path, id and setting is shorter."""
LONGEST_MESSAGE = 400


class Parser(base.CommandParser):
    """A parser that rejects values that no option can have, before a type or a command receives them."""

    def error(self, message: str) -> NoReturn:
        line = ends_of(one_line(ValueError(message)), LONGEST_MESSAGE)
        if self.called_from_command_line:
            self.exit(NOT_DONE, f"{line}. See {self.prog} --help\n")
        raise base.CommandError(f"Error: {line}")

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        # argparse passes the values of all arguments to this method. Python 3.11 removes the value of ``--option=--`` here. Then it fails with an
        # IndexError or stores an empty list. The parser of a subcommand checks its own arguments.
        for text in [] if action.nargs == PARSER else arg_strings:
            if problem := _problem(text, is_option=bool(action.option_strings)):
                raise ArgumentError(action, problem)
        return super()._get_values(action, arg_strings)


def _problem(text: str, *, is_option: bool) -> str | None:
    if is_option and text in ("", "--"):
        return f"{text!r} is not a value. Give a value or leave out the option"
    if "\0" in text:
        return "the value has a NUL character. Remove it"
    if len(text) > LONGEST:
        return f"the value has {len(text):,} characters, and the maximum is {LONGEST:,}"
    return None


def use_parser() -> None:
    """Make all commands use ``Parser``. Django has no other way: two of its modules name the class."""
    for module in (base, management):
        setattr(module, "CommandParser", Parser)  # noqa: B010
