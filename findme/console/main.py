"""What ``manage.py`` runs."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

from findme.console.command import NOT_DONE, what_went_wrong
from findme.environment import default_to_debug, env, missing_in_production

NEEDS_NO_SETTINGS = {"help", "--help", "-h", "--version", "version", "check", "makemigrations", "collectstatic", "compilemessages"}


def main(argv: list[str]) -> int:
    """Run one command and give its exit code; DEBUG is on unless said otherwise, and production settings are asked for where it is off."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    default_to_debug()
    command = argv[1] if len(argv) > 1 else "help"
    if not env.bool("DEBUG") and command not in NEEDS_NO_SETTINGS and (missing := missing_in_production()):
        sys.stderr.write(f"{missing}\n")
        return NOT_DONE
    try:
        execute_from_command_line(argv)
    except Exception as error:
        line = what_went_wrong(error)
        if line is None or "--traceback" in argv:
            raise
        sys.stderr.write(f"{line}\n")
        return NOT_DONE
    return 0
