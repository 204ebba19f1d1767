"""``python -m findme``, and the program ``findme`` of the wheel. Django is imported only where Ctrl-C is handled."""

from __future__ import annotations

import sys

from findme.core.program import exit_code


def manage() -> int | str | None:
    def run() -> int | str | None:
        from findme.cli import main

        return main(sys.argv)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(manage())
