"""The database backend without ``DATABASE_URL``: it starts the embedded server at the first connection, and never before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from findme.core.postgresql import base
from findme.core.postgresql.variables import unset_variables
from findme.database_url import ISOLATION
from findme.embedded.backend.client import DatabaseClient
from findme.embedded.server import ensure_running

_reported: set[int] = set()
"""Process ids of the servers that this process has reported on stderr."""


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        self.ensure_server()
        self.settings_dict["OPTIONS"]["isolation_level"] = ISOLATION
        parameters: dict[str, Any] = super().get_connection_params()
        return parameters

    def ensure_server(self) -> None:
        """Start the server if necessary, and report once on stderr which database it is.

        Raises ImproperlyConfigured if DEBUG is off, so that no operator migrates or erases an empty database by mistake.
        """
        if not settings.EMBEDDED_POSTGRES_ALLOWED:
            raise ImproperlyConfigured(
                "DEBUG is off and DATABASE_URL is not set. Set it to postgresql://USER:PASSWORD@HOST:PORT/NAME, in the environment or in .env."
            )
        unset_variables()
        running = ensure_running(Path(settings.EMBEDDED_POSTGRES_DIR), durable=settings.EMBEDDED_POSTGRES_DURABLE)
        self.settings_dict.update(HOST=str(running.socket_folder), PORT=str(running.port), USER=running.user)
        if running.pid not in _reported:
            _reported.add(running.pid)
            sys.stderr.write(f"{running}\n")
