"""Run one command for ``manage.py``, with exit codes and one-line errors."""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from types import TracebackType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from findme.core.commands import stdout
from findme.core.commands.base import FindmeCommand
from findme.core.commands.explanations import explain_error
from findme.core.commands.prompts import unanswered_questions
from findme.core.commands.running import log_command, set_command
from findme.core.errors import UserFacingError, one_line, truncated, without_detail
from findme.core.program import INTERRUPTED, NOT_DONE
from findme.core.version import __version__
from findme.environment import default_to_debug, env, missing_settings, unknown_names
from findme.foreign_errors import refused_argument, report_first_unknown_app

COMMANDS_WITHOUT_SETTINGS = {"help", "version", "check", "makemigrations", "collectstatic"}


def main(arguments: list[str]) -> int | str | None:
    """Run one command and return its exit code.

    DEBUG is on by default. If it is off, the settings that production requires must be set.
    """
    if not stdout.prepare_stdout():
        return NOT_DONE
    with log_command() as ended:
        ended.append(code := _run_and_flush(arguments))
    return code


def _run_and_flush(arguments: list[str]) -> int | str | None:
    code: int | str | None
    try:
        code = _run(arguments)
    except SystemExit as end:
        code = end.code
    except Exception:
        stdout.flush_stdout()
        raise
    lost = stdout.flush_stdout()
    if lost is None or code == INTERRUPTED:
        return code
    # With NOT_DONE an error was already reported. With a broken pipe, the reader of our output has closed it.
    if code != NOT_DONE and not isinstance(lost, BrokenPipeError):
        sys.stderr.write(f"{explain_error(lost)}\n")
    return NOT_DONE


def _run(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    _apply_no_color(arguments)
    try:
        default_to_debug()
        _require_production_settings(arguments[1:2])
        if _settings_are_read() and (unknown := unknown_names()):
            sys.stderr.write(f"{unknown}\n")
        _Commands(arguments).execute()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        return NOT_DONE
    except Exception as error:
        line = explain_error(error)
        if line is None or "--traceback" in arguments:
            raise
        sys.stderr.write(f"{line}\n")
        return NOT_DONE
    return 0


def _apply_no_color(arguments: list[str]) -> None:
    """Turn Django's colors off for ``NO_COLOR`` (no-color.org): only rich reads it by itself. The option ``--force-color`` wins."""
    if os.environ.get("NO_COLOR") and "--force-color" not in arguments:
        os.environ["DJANGO_COLORS"] = "nocolor"


def _require_production_settings(command: list[str]) -> None:
    """Raise ImproperlyConfigured if DEBUG is off and a production setting is missing.

    Otherwise an operator could migrate or erase with a development default.
    """
    if command and command[0].lstrip("-") not in COMMANDS_WITHOUT_SETTINGS:
        settings.INSTALLED_APPS  # noqa: B018  # reads the settings; Django would continue without them until something else fails
        if not env.bool("DEBUG") and (missing := missing_settings()):
            raise ImproperlyConfigured(f"DEBUG is off. {missing}")


def _settings_are_read() -> bool:
    """Read the settings, and return whether they are complete. Before that, every name in ``.env`` would look unknown."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  # reads the settings
    except ImproperlyConfigured:
        return False  # the command reports it, unless it needs no settings
    return True


class _Commands(ManagementUtility):
    """Django's own commands exit like ours: with 2 if the work was not done, and with 1 if a check has findings."""

    def execute(self) -> None:
        if self.argv[1:2] == ["version"] or self.argv[1:] == ["--version"]:
            sys.stdout.write(f"{__version__}\n")
        else:
            super().execute()

    def fetch_command(self, subcommand: str) -> BaseCommand:
        try:
            command = super().fetch_command(truncated(subcommand))
        except SystemExit:  # an unknown command, which Django has reported
            sys.exit(NOT_DONE)
        set_command(subcommand)
        if not isinstance(command, FindmeCommand):
            report_first_unknown_app(command)
            execute = _execute_script if subcommand == "shell" else _execute
            command.execute = partial(execute, command.execute)  # type: ignore[method-assign]
            command.get_version = lambda: __version__  # type: ignore[method-assign]
        return command


def _execute(execute: Any, *args: Any, **options: Any) -> Any:
    try:
        with unanswered_questions(options):
            return execute(*args, **options)
    except SystemCheckError:
        raise
    except CommandError as error:
        if line := _database_error_line(error):
            raise UserFacingError(line) from error
        raise CommandError(one_line(error), returncode=NOT_DONE) from error
    except Exception as error:
        if line := refused_argument(error):
            raise CommandError(line, returncode=NOT_DONE) from error
        if not _is_caused_by_data(error):
            raise
        raise CommandError(_to_line(error), returncode=NOT_DONE) from error


def _database_error_line(error: CommandError) -> str | None:
    """Return the line for the database error that caused ``error``; None if there is none, or if the rows caused it."""
    cause = error.__cause__ or error.__context__
    return explain_error(cause) if isinstance(cause, DatabaseError | InterfaceError) and not _is_caused_by_data(cause) else None


def _execute_script(execute: Any, *args: Any, **options: Any) -> Any:
    """Run ``shell``, and show Python's traceback for an error in a script: its author needs the line number."""
    try:
        return execute(*args, **options)
    except Exception as error:  # noqa: BLE001  # the traceback of every error is shown
        traceback.print_exception(error.with_traceback(_script_frames(error.__traceback__)))
        sys.exit(NOT_DONE)


def _script_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the frames from the script's first one on, or all frames if the script never began."""
    frame = frames
    while frame is not None and frame.tb_frame.f_code.co_filename != "<string>":
        frame = frame.tb_next
    return frame or frames


def _is_caused_by_data(error: Exception) -> bool:
    """Return whether the command's input data caused the error: PostgreSQL rejected a row, or loaddata cannot read a file."""
    if isinstance(error, (IntegrityError, DataError)):
        return True
    return explain_error(error) is None and str(error).startswith("Problem installing fixture")


def _to_line(error: Exception) -> str:
    """Return the error in one line. If Django names only the file, add the cause."""
    words = without_detail(error)
    return f"{words} {one_line(error.__cause__)}" if error.__cause__ is not None and words.endswith(":") else words
