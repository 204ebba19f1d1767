from __future__ import annotations

from typing import Any

from django.core.management.commands import flush
from django.db import connections

from findme.core.dumps.local_rows import kept_by_flush


class Command(flush.Command):
    help = "Removes all data except the rows that identify this database. The next sync_qdrant removes the points of the removed users."

    def handle(self, **options: Any) -> None:
        with kept_by_flush(connections[options["database"]]):
            super().handle(**options)
