"""``demo``: everything that FindMe is for, once, on people who do not exist."""

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
        "Set up both stores, load the demo's people, search, export, anonymize, and make a login for the admin. It may be run again and again,"
        " and refuses where there is a person or a point that is not of the demo."
    )
    after_interrupt = "Run it again: it starts from the beginning."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exports",
            type=Path,
            default=EXPORTS,
            metavar="FOLDER",
            help=f"where the export goes (default: {EXPORTS.name} in the checkout, which git ignores)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with exclusive_demo():
            run_demo(Presenter(self.stdout), options["exports"])
