"""What ``manage.py`` runs."""

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

NEED_NO_SETTINGS = {"help", "version", "check", "makemigrations", "collectstatic"}


def main(arguments: list[str]) -> int | str | None:
    """Run one command and give its exit code; DEBUG is on unless said otherwise, and production's settings are asked for where it is off."""
    if not stdout.prepare_stdout():
        return NOT_DONE
    with log_command() as ended:
        ended.append(code := _run_to_the_end(arguments))
    return code


def _run_to_the_end(arguments: list[str]) -> int | str | None:
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
    if code != NOT_DONE and not isinstance(
        lost, BrokenPipeError
    ):  # otherwise it is said already, or whoever read our output has read enough
        sys.stderr.write(f"{explain_error(lost)}\n")
    return NOT_DONE


def _run(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    _obey_no_color(arguments)
    try:
        default_to_debug()
        _refuse_half_a_production(arguments[1:2])
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


def _obey_no_color(arguments: list[str]) -> None:
    """Turn Django's colors off for ``NO_COLOR`` (no-color.org): only rich reads it by itself. The option ``--force-color`` wins."""
    if os.environ.get("NO_COLOR") and "--force-color" not in arguments:
        os.environ["DJANGO_COLORS"] = "nocolor"


def _refuse_half_a_production(command: list[str]) -> None:
    """Nobody is to migrate or to erase with development's settings because one of production's is missing."""
    if command and command[0].lstrip("-") not in NEED_NO_SETTINGS:
        settings.INSTALLED_APPS  # noqa: B018  # reads them: Django would go on without, until something else fails
        if not env.bool("DEBUG") and (missing := missing_settings()):
            raise ImproperlyConfigured(f"DEBUG is off. {missing}")


def _settings_are_read() -> bool:
    """Read the settings, and return whether they are complete. Until then no name in ``.env`` has been asked for, and each would look unknown."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  # reads them
    except ImproperlyConfigured:
        return False  # the command reports it, unless it needs none
    return True


class _Commands(ManagementUtility):
    """Django's own commands end with the codes of ours: 2 where something was not done, and 1 where a check has found something."""

    def execute(self) -> None:
        if self.argv[1:2] == ["version"] or self.argv[1:] == ["--version"]:
            sys.stdout.write(f"{__version__}\n")
        else:
            super().execute()

    def fetch_command(self, subcommand: str) -> BaseCommand:
        try:
            command = super().fetch_command(truncated(subcommand))
        except SystemExit:  # an unknown command, and Django has said so
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
        if line := _why_refused(error):
            raise UserFacingError(line) from error
        raise CommandError(one_line(error), returncode=NOT_DONE) from error
    except Exception as error:
        if line := refused_argument(error):
            raise CommandError(line, returncode=NOT_DONE) from error
        if not _is_of_the_data(error):
            raise
        raise CommandError(_to_line(error), returncode=NOT_DONE) from error


def _why_refused(error: CommandError) -> str | None:
    """Return the line for the database error that Django put into ``error``; None if there is none, or if the rows cause it."""
    cause = error.__cause__ or error.__context__
    return explain_error(cause) if isinstance(cause, DatabaseError | InterfaceError) and not _is_of_the_data(cause) else None


def _execute_script(execute: Any, *args: Any, **options: Any) -> Any:
    """The person who wrote a script for ``shell`` needs Python's own traceback: it has the number of the line."""
    try:
        return execute(*args, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is, its traceback is shown
        traceback.print_exception(error.with_traceback(_of_the_script(error.__traceback__)))
        sys.exit(NOT_DONE)


def _of_the_script(frames: TracebackType | None) -> TracebackType | None:
    """The frames from the script's own on, or all of them where it never began."""
    frame = frames
    while frame is not None and frame.tb_frame.f_code.co_filename != "<string>":
        frame = frame.tb_next
    return frame or frames


def _is_of_the_data(error: Exception) -> bool:
    """Whether the rows are wrong that a command was given: PostgreSQL refuses them, or loaddata cannot read the file that it names."""
    if isinstance(error, (IntegrityError, DataError)):
        return True
    return explain_error(error) is None and str(error).startswith("Problem installing fixture")


def _to_line(error: Exception) -> str:
    """In one line; where Django says only which file it was, with its cause."""
    words = without_detail(error)
    return f"{words} {one_line(error.__cause__)}" if error.__cause__ is not None and words.endswith(":") else words
