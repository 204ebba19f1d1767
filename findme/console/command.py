"""The base of every command: 0 done and clean, 1 done and there is something to look at, 2 not done and why on one line of stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError
from psycopg import errors

from findme.console.errors import NotDone, one_line

SOMETHING_TO_LOOK_AT = 1
NOT_DONE = 2
INTERRUPTED = 130


def what_went_wrong(error: BaseException) -> str | None:
    """The line for an error that a person can cause; None for a defect of ours, which keeps its traceback."""
    match error:
        case NotDone() | ImproperlyConfigured():
            return one_line(error)
        case OperationalError() | InterfaceError():
            return f"PostgreSQL: {one_line(error)}"
        case ProgrammingError(__cause__=errors.UndefinedTable() | errors.UndefinedColumn() as cause):
            return f"PostgreSQL: {cause.diag.message_primary}: the schema is not the one of this release. Run manage.py migrate."
        case ProgrammingError(__cause__=errors.InsufficientPrivilege() as cause):
            return f"PostgreSQL: {cause.diag.message_primary}: use a role that may, in DATABASE_URL."
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
    return None


class FindmeCommand(BaseCommand):
    """Parses, calls one function, prints. Errors that a person can cause end in one line on stderr and exit 2, by ``CommandError`` when it is
    called from Python."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if getattr(self, "_called_from_command_line", False):
            _say_errors_in_one_line(parser, f"{prog_name} {subcommand} --help")
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:
            self._end(f"{self.name()}: interrupted. Run it again: it goes on from where it is.", INTERRUPTED)
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

    def say(self, line: str) -> None:
        self.stdout.write(line)

    def say_json(self, value: object) -> None:
        """One JSON document on stdout; dataclasses as objects."""
        self.stdout.write(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2))

    def something_to_look_at(self) -> NoReturn:
        """Done, and there is something to look at: exit 1."""
        sys.exit(SOMETHING_TO_LOOK_AT)


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return str(value)


def _say_errors_in_one_line(parser: ArgumentParser, help_command: str) -> None:
    def error(message: str) -> NoReturn:
        parser.exit(NOT_DONE, f"{one_line(ValueError(message))}. See {help_command}\n")

    parser.error = error  # type: ignore[method-assign]
