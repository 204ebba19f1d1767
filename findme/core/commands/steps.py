"""Steps of a long job: its functions log them, and a command prints them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Printer(logging.Handler):
    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.getMessage())


@contextmanager
def printed_steps(logger_name: str, write: Callable[[str], object]) -> Iterator[None]:
    """Call ``write`` with the message of each log record of the block, from level INFO.

    The records are those of the logger and its children. LOG_LEVEL still decides whether the log gets these records.
    """
    logger, printer = logging.getLogger(logger_name), _Printer(write)
    level, propagate = logger.level, logger.propagate
    logger.propagate = propagate and logger.isEnabledFor(logging.INFO)
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))
    logger.addHandler(printer)
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.propagate = propagate
        logger.setLevel(level)
