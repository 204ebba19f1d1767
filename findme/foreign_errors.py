"""Errors of Django's and other packages' commands for a wrong argument, if they raise no ``CommandError``."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from findme.core.commands.explanations import explain_error
from findme.core.errors import one_line
from findme.core.program import NOT_DONE
from findme.environment import BASE_DIR

PACKAGES = frozenset({"findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy"})
PASS_ON = (Path("findme/__main__.py"), Path("findme/cli.py"), Path("findme/core/commands"))
REFUSALS = (LookupError, ValueError, OverflowError, ValidationError)
DEFECTS = (KeyError, IndexError)
"""Kinds of LookupError that no command raises on purpose."""


def refused_argument(error: Exception) -> str | None:
    """Return the line for an error that a wrong argument of another package's command caused.

    Return None for any other error, and for one that ``explain_error`` explains.
    """
    if not isinstance(error, REFUSALS) or isinstance(error, DEFECTS) or explain_error(error) or _is_ours(error):
        return None
    words = "; ".join(map(str, error.messages)) if isinstance(error, ValidationError) else str(error)
    line = one_line(ValueError(words)) if words.strip() else type(error).__name__
    if isinstance(error, OverflowError):
        line = f"A number is too large: {line}"
    return f"{line.rstrip('.')}. Correct the arguments; --traceback shows where they were rejected."


def report_first_unknown_app(command: BaseCommand) -> None:
    """Make ``command`` stop with one line at the first unknown app: showmigrations and makemigrations print a line for each one."""
    write = command.stderr.write

    def checked(text: str = "", *args: Any, **options: Any) -> int | None:
        error = sys.exc_info()[1]
        if type(error) is LookupError and text == str(error):
            raise CommandError(one_line(error), returncode=NOT_DONE) from error
        return write(text, *args, **options)

    command.stderr.write = checked  # type: ignore[method-assign,assignment]


def _is_ours(error: Exception) -> bool:
    """Return whether code of this project raised ``error`` or called what raised it: that is a defect, or a wrong fixture or migration."""
    return any(_is_our_code(Path(frame.f_code.co_filename)) for frame, _line in traceback.walk_tb(error.__traceback__))


def _is_our_code(path: Path) -> bool:
    """Return whether the file is code of this project, except commands: those only pass arguments on."""
    if not path.is_relative_to(BASE_DIR):
        return False
    relative = path.relative_to(BASE_DIR)
    if any(relative.is_relative_to(one) for one in PASS_ON) or "management/commands" in relative.as_posix():
        return False
    return relative.parts[0] in PACKAGES
