"""End a benchmark with the exit codes of the project, and with one line for an error that an operator can cause."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from findme.core.commands.explanations import explain_error
from findme.core.program import NOT_DONE, exit_code


def run(main: Callable[[], object]) -> NoReturn:
    """Run ``main`` and end the process."""
    sys.exit(exit_code(lambda: _code_of(main)))


def _code_of(main: Callable[[], object]) -> int:
    try:
        main()
    except Exception as error:
        line = explain_error(error)
        if line is None:
            raise
        sys.stderr.write(f"{line}\n")
        return NOT_DONE
    return 0
