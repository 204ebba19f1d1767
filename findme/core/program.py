"""How a program ends: an unexpected exception keeps its traceback and ends with exit code 2, since 1 means that something was done.

Needs nothing but Python: ``install`` runs before any package is there.
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
    except Exception as error:  # noqa: BLE001  # whatever it is, its traceback is shown
        sys.excepthook(type(error), error, error.__traceback__)
        return NOT_DONE
