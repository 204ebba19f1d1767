#!/usr/bin/env python
"""The commands: ``manage.py help`` lists them."""

import sys  # the interpreter has it already; every other import is in `run`, because Ctrl-C can come while a file is read

OURS = ("findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy")


def run() -> "int | str | None":  # in quotes for an older Python, which cannot evaluate it
    if sys.version_info < (3, 11):  # noqa: UP036  # an older one may be what `python3 manage.py` finds
        sys.stderr.write(
            f"FindMe needs Python 3.11 or later, and this is {sys.version.split()[0]}: `make install`, then .venv/bin/python manage.py\n"
        )
        return 2
    try:
        from findme.cli import main

        return main(sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    except ModuleNotFoundError as error:
        if (error.name or OURS[0]).partition(".")[0] not in OURS:
            sys.stderr.write(f"The module {error.name!r} is not installed here: `make install`, then .venv/bin/python manage.py\n")
            return 2
        sys.excepthook(type(error), error, error.__traceback__)
    except Exception as error:  # noqa: BLE001  # a defect: its traceback is shown
        sys.excepthook(type(error), error, error.__traceback__)
    return 2  # 1 would mean that something was done


if __name__ == "__main__":
    sys.exit(run())
