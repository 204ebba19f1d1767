"""The database backend for ``DATABASE_URL``. The backend of the embedded server extends it."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from findme.core.postgresql.session import pin_settings
from findme.core.postgresql.statement_limit import LimitedConnection, limited_timeout


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that obeys ``statement_limit``, from its first statement on."""
        connection = super().get_new_connection(conn_params | limited_timeout(conn_params.get("connect_timeout")))
        connection.__class__ = LimitedConnection
        return connection

    def init_connection_state(self) -> None:
        """Pin the settings of a new session. If that fails, close the connection, so that it is never used."""
        try:
            super().init_connection_state()
            if self.connection is not None:
                pin_settings(self.connection)
                if not self.get_autocommit():
                    self.connection.commit()
        except BaseException:
            self.close()
            raise
