"""The command that this process runs, and its last line in the log: how long it took, its exit code, and what it counted."""

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
    """Return the name of the command; None in a web process."""
    return _command


def begin(command: str) -> None:
    """Note the name, once it is known that there is such a command: what was typed instead of one may be anything."""
    global _command  # this process runs one command
    _command = command


def note_counts(result: object) -> dict[str, int]:
    """Keep the numbers of ``result``, a dataclass, for the last line: whole numbers, and lengths of collections. Nothing else of it is logged."""
    found = dict(_counts_of(result))
    _counts.update(found)
    return found


def log_batch(result: object) -> None:
    """Log one line for a part of a command that runs until it is stopped."""
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
def logged() -> Iterator[list[int | str | None]]:
    """Log one line when the block has ended. The block puts the exit code into the list that it gets; an exception has the code of ``program``."""
    global _command  # as above
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
    """The code that the process ends with: Python prints a text, and ends with 1."""
    return code if isinstance(code, int) else int(code is not None)
