"""The database backend for ``DATABASE_URL``. The backend of the embedded server extends it."""

from __future__ import annotations

from django.db.backends.postgresql import base

from findme.core.postgresql.session import pin_settings


class DatabaseWrapper(base.DatabaseWrapper):
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
