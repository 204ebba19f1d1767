"""The base of every command: 0 done and clean, 1 done with findings, 2 not done and why on one line of stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from findme.core.commands.explanations import what_went_wrong
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
    """Parses, calls one function, prints. Errors that a person can cause end in one line on stderr and exit 2, by ``CommandError`` when it is
    called from Python."""

    after_interrupt = "Run it again: it goes on from where it is."
    """What a person who pressed Ctrl-C reads: whether something was changed, and where the next run starts."""

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
            line = what_went_wrong(error)
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
        """One JSON document on stdout; dataclasses as objects."""
        self.stdout.write(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2))

    def printed_steps(self, logger_name: str, *, as_json: bool) -> AbstractContextManager[None]:
        """Print the steps that are logged in the block, each at once, also into a pipe; with ``as_json`` none."""
        return nullcontext() if as_json else printed_steps(logger_name, self._print_at_once)

    def _print_at_once(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def exit_with_findings(self) -> NoReturn:
        """End with exit code 1: done, with findings."""
        sys.exit(FINDINGS)


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)
