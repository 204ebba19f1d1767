#!/usr/bin/env python
"""The commands: ``manage.py help`` lists them."""

from __future__ import annotations

import sys
import traceback

OURS = ("findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy")


def run() -> int | str | None:
    if sys.version_info < (3, 11):  # noqa: UP036  # an older one may be what `python3 manage.py` finds
        sys.stderr.write(
            f"FindMe needs Python 3.11 or later, and this is {sys.version.split()[0]}: `make install`, then .venv/bin/python manage.py\n"
        )
        return 2
    try:  # a Ctrl-C may come while the modules are read, too
        from findme.console.main import main

        return main(sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    except ModuleNotFoundError as error:
        if (error.name or OURS[0]).partition(".")[0] not in OURS:
            sys.stderr.write(f"The module {error.name!r} is not installed here: `make install`, then .venv/bin/python manage.py\n")
            return 2
        traceback.print_exc()
    except Exception:  # noqa: BLE001  # a defect: its traceback is shown
        traceback.print_exc()
    return 2  # 1 would mean that something was done


if __name__ == "__main__":
    sys.exit(run())
