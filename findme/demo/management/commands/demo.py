"""``demo``: show every part of FindMe once, with users who do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.demo.guard import exclusive_demo
from findme.demo.presenter import Presenter
from findme.demo.steps import run_demo
from findme.environment import BASE_DIR

EXPORTS = BASE_DIR / "exports"


class Command(FindmeCommand):
    help = (
        "Set up both stores, load demo users, search, export, anonymize, and create a login for the admin. It can be run again,"
        " and refuses to run if there are users or points that are not of the demo."
    )
    after_interrupt = "Run it again: it starts from the first step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exports",
            type=Path,
            default=EXPORTS,
            metavar="FOLDER",
            help=f"Folder for the export (default: {EXPORTS.name} in the checkout, which git ignores).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with exclusive_demo():
            run_demo(Presenter(self.stdout), options["exports"])
