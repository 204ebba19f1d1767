from __future__ import annotations

from typing import Any

from django.core.management.commands import sqlflush
from django.db import connections

from findme.core.dumps.local_rows import kept_by_flush


class Command(sqlflush.Command):
    help = "Prints the SQL that flush runs."

    def handle(self, **options: Any) -> str:
        with kept_by_flush(connections[options["database"]]):
            return str(super().handle(**options))
