#!/usr/bin/env python
"""Run a command; ``manage.py help`` lists them."""

import sys  # already loaded; every other import is in `run`, because Ctrl-C can interrupt an import

OURS = ("findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy", "backups")


def run() -> "int | str | None":  # in quotes, because an older Python cannot evaluate it
    if sys.version_info < (3, 11):  # noqa: UP036  # `python3` may be an older version
        sys.stderr.write(
            f"FindMe needs Python 3.11 or later, but this is {sys.version.split()[0]}. Run make install, then .venv/bin/python manage.py\n"
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
            sys.stderr.write(f"The module {error.name!r} is not installed here. Run make install, then .venv/bin/python manage.py\n")
            return 2
        sys.excepthook(type(error), error, error.__traceback__)
    except Exception as error:  # noqa: BLE001  # a defect: its traceback is shown
        sys.excepthook(type(error), error, error.__traceback__)
    return 2  # 1 would mean that the command ran and has findings


if __name__ == "__main__":
    sys.exit(run())
