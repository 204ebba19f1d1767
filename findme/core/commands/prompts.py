"""Questions of commands, and the error if standard input ends before the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from findme.core.errors import UserFacingError

BY_GETPASS = ()
BY_INPUT = ("EOF when reading a line",)
"""The arguments of the EOFError. An EOFError from an incomplete file has other arguments."""


@contextmanager
def unanswered_questions(options: Mapping[str, object]) -> Iterator[None]:
    """Raise UserFacingError if standard input ends at a question, and end the line of the question.

    ``options`` are the options of the command. They decide which advice the error gives.
    """
    try:
        yield
    except EOFError as error:
        if error.args not in (BY_GETPASS, BY_INPUT):
            raise
        stream = sys.stdout if error.args == BY_INPUT else sys.stderr
        stream.write("\n")
        stream.flush()
        raise UserFacingError(f"The input ended before the question was answered. {_advice(options)}") from error


def _advice(options: Mapping[str, object]) -> str:
    if "interactive" in options:  # where Django stores --no-input
        return "Answer it on a terminal, or see --no-input in the command's --help."
    return "Run the command on a terminal, because it accepts the answer only there."


def confirm(question: str, nothing: str, prompt: Callable[[str], None]) -> None:
    """Return if the answer is yes. Otherwise, and if the standard input is not a terminal, raise UserFacingError with the state ``nothing``."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserFacingError(f"The standard input is not a terminal: {nothing}. In a script, add --no-input.")
    prompt(question)
    try:
        answer = input()
    except EOFError:
        prompt("\n")
        raise UserFacingError(f"There was no answer: {nothing}. In a script, add --no-input.") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise UserFacingError(f"The answer was {answer!r}, not y: {nothing}.")
