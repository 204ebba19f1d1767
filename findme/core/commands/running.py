"""The command of this process, and its last log line: duration, exit code and counts."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from findme.core.program import INTERRUPTED, NOT_DONE

log = logging.getLogger("findme.command")

_command: str | None = None
_counts: dict[str, int] = {}


def running_command() -> str | None:
    """Return the name of the command, or None in a web process."""
    return _command


def set_command(command: str) -> None:
    """Store the name of the command for the log.

    Call it only if the command exists: a mistyped argument can be any text.
    """
    # A process runs one command.
    global _command
    _command = command


def note_counts(result: object) -> dict[str, int]:
    """Store the counts of the dataclass ``result`` for the last log line, and return them.

    Counts are whole numbers and lengths of collections. No other value of ``result`` is logged.
    """
    found = dict(_counts_of(result))
    _counts.update(found)
    return found


def log_batch(result: object) -> None:
    """Log one line for a batch of a command that runs until it is stopped."""
    log.info("A batch of the command %s is done.", _command or "unknown", extra={"counts": dict(_counts_of(result))})


def _counts_of(result: object, prefix: str = "") -> Iterator[tuple[str, int]]:
    assert dataclasses.is_dataclass(result)
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            yield f"{prefix}{field.name}", value
        elif isinstance(value, list | tuple | set | frozenset):
            yield f"{prefix}{field.name}", len(value)
        elif dataclasses.is_dataclass(value):
            yield from _counts_of(value, f"{prefix}{field.name}.")


@contextmanager
def log_command() -> Iterator[list[int | str | None]]:
    """Log one line when the block ends.

    The block appends the exit code to the list. An exception has its exit code from ``findme.core.program``.
    """
    global _command
    begun, ended = time.monotonic(), list[int | str | None]()
    _counts.clear()
    try:
        yield ended
    except BaseException as error:
        ended.append(_code_of(error))
        raise
    finally:
        code = _number(ended[-1] if ended else None)
        details = {"duration_seconds": round(time.monotonic() - begun, 3), "exit_code": code, "counts": dict(_counts)}
        log.info("The command %s ended with code %s.", _command or "unknown", code, extra=details)
        _command = None


def _code_of(error: BaseException) -> int | str | None:
    match error:
        case SystemExit():
            return error.code
        case KeyboardInterrupt():
            return INTERRUPTED
    return NOT_DONE


def _number(code: int | str | None) -> int:
    """Return the exit code of the process. For a text, Python prints it and exits with 1."""
    return code if isinstance(code, int) else int(code is not None)
