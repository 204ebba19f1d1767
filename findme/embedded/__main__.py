"""``python -m findme.embedded stop`` stops the embedded PostgreSQL, ``status`` shows whether it runs. Django is not needed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.program import exit_code
from findme.embedded.server import running, stop
from findme.environment import embedded_postgres_folder, read_dotenv


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m findme.embedded", description=__doc__)
    parser.add_argument("action", choices=["stop", "status"])
    parser.add_argument("--json", action="store_true", help="print the status as one JSON object")
    options = parser.parse_args(arguments)
    try:
        read_dotenv()
        folder = embedded_postgres_folder()
        return _stop(folder) if options.action == "stop" else _status(folder, as_json=options.json)
    except UserFacingError as error:
        return _not_done(str(error))
    except OSError as error:
        return _not_done(f"{error.filename}: {error.strerror}")


def _stop(folder: Path) -> int:
    ended = stop(folder)
    _print_line("PostgreSQL was stopped." if ended else "No embedded PostgreSQL was running.")
    return 0


def _status(folder: Path, *, as_json: bool) -> int:
    """Print the status. Return 0 if the server runs, 1 if not."""
    found = running(folder)
    if as_json:
        _print_line(
            json.dumps(
                {"running": found is not None} | ({} if found is None else dataclasses.asdict(found) | {"url": found.url}), default=str
            )
        )
    else:
        _print_line(f"{found}\n{found.url}" if found else "No embedded PostgreSQL is running.")
    return 0 if found else 1


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _not_done(line: str) -> int:
    sys.stderr.write(f"{line}\n")
    return 2


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
