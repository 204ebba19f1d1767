from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.commands import flush
from django.db import connections

from findme.core.dumps.local_rows import kept_by_flush
from findme.core.errors import UserFacingError


class Command(flush.Command):
    help = "Removes all data except the rows that identify this database. The next sync_qdrant removes the points of the removed users."

    def handle(self, **options: Any) -> None:
        if not settings.FLUSH_ALLOWED:
            raise UserFacingError(
                "flush deletes the data of all users, and DEBUG is off: nothing was changed."
                " To erase a user, run manage.py erase_user USER --hard. To empty a copy for development, set DEBUG=on."
            )
        with kept_by_flush(connections[options["database"]]):
            super().handle(**options)
