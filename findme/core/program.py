"""Exit codes of a program.

An unexpected exception keeps its traceback and ends with exit code 2, because 1 means "done, with findings".
This module imports the standard library only: ``install`` runs before any package is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

NOT_DONE = 2
INTERRUPTED = 130


def exit_code(main: Callable[[], int | str | None]) -> int | str | None:
    """Run ``main`` and return its exit code, 2 after an unexpected exception and 130 after Ctrl-C."""
    try:
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the traceback of every error is shown
        sys.excepthook(type(error), error, error.__traceback__)
        return NOT_DONE
