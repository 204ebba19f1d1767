"""The base of every command.

Exit code 0 is done without findings, and 1 is done with findings. Exit code 2 is not done, with the reason on one line of stderr.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from findme.core.commands.explanations import explain_error
from findme.core.commands.parser import use_parser
from findme.core.commands.prompts import unanswered_questions
from findme.core.commands.steps import printed_steps
from findme.core.errors import one_line
from findme.core.program import INTERRUPTED
from findme.core.program import NOT_DONE as NOT_DONE
from findme.core.version import __version__

FINDINGS = 1

use_parser()


class FindmeCommand(BaseCommand):
    """A command that parses its arguments, calls one function and prints the result.

    An error that a user can cause ends in one line on stderr and exit code 2. A call from Python raises ``CommandError`` instead.
    """

    after_interrupt = "Run it again: it continues where it stopped."
    """Text after Ctrl-C: whether something was changed, and where the next run starts."""

    def get_version(self) -> str:
        return __version__

    def execute(self, *args: Any, **options: Any) -> str | None:
        if options.get("no_color") and getattr(self, "_called_from_command_line", False):
            os.environ["NO_COLOR"] = "1"  # rich reads it, for the progress bar too
        try:
            with unanswered_questions(options):
                return super().execute(*args, **options)
        except KeyboardInterrupt:
            self._end(f"{self.name()}: interrupted. {self.after_interrupt}", INTERRUPTED)
        except CommandError as error:
            self._end(one_line(error), error.returncode if error.returncode != 1 else NOT_DONE)
        except Exception as error:
            line = explain_error(error)
            if line is None or options.get("traceback"):
                raise
            self._end(line, NOT_DONE)

    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    def _end(self, line: str, code: int) -> NoReturn:
        if getattr(self, "_called_from_command_line", False):
            self.stderr.write(line)
            sys.exit(code)
        raise CommandError(line, returncode=code)

    def print_line(self, line: str) -> None:
        self.stdout.write(line)

    def print_json(self, value: object) -> None:
        """Print ``value`` as one JSON document. Dataclasses become objects."""
        self.stdout.write(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2))

    def printed_steps(self, logger_name: str, *, as_json: bool) -> AbstractContextManager[None]:
        """Print each step that the block logs, at once, even to a pipe. With ``as_json``, print no steps."""
        return nullcontext() if as_json else printed_steps(logger_name, self._print_at_once)

    def _print_at_once(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def exit_with_findings(self) -> NoReturn:
        """Exit with code 1: done, with findings."""
        sys.exit(FINDINGS)


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)
