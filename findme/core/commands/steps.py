"""Steps of a long job. Its functions log them, and a command prints them."""

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
    """Call ``write`` with the text of each record that the logger, or one below it, gets in the block, from INFO on.

    The log has these records only if LOG_LEVEL lets them through, as without this block.
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
