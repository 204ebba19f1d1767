"""Arguments of the commands about backups."""

from __future__ import annotations

from django.core.management.base import CommandParser

from backups.destinations.destination import Destination
from backups.destinations.opening import open_destination
from findme.core.errors import UserFacingError


def add_destination(parser: CommandParser) -> None:
    parser.add_argument("destination", metavar="DEST", help="a folder, or a URL such as s3://BUCKET/backups")


def add_source(parser: CommandParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a backup: its destination, a slash and its name")


def open_source(source: str) -> tuple[Destination, str]:
    """Return the destination and the name of the backup at DESTINATION/NAME. Raise UserFacingError."""
    destination, _, name = source.rstrip("/").rpartition("/")
    if not destination or destination.endswith(":/") or not name:
        raise UserFacingError(
            f"{source!r} names no backup. Write its destination, a slash and its name, as manage.py list_backups shows it."
        )
    return open_destination(destination), name
