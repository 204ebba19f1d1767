"""``dbshell`` for the embedded server, with its own ``psql``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from django.db.backends.postgresql import client

from findme.core.postgresql.programs import installed_binaries

if TYPE_CHECKING:
    from findme.embedded.backend.base import DatabaseWrapper


class DatabaseClient(client.DatabaseClient):
    def runshell(self, parameters: Iterable[str]) -> None:
        cast("DatabaseWrapper", self.connection).ensure_server()
        super().runshell(parameters)

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: dict[str, Any], parameters: Iterable[str]) -> tuple[list[str], dict[str, str] | None]:
        (_, *arguments), environment = super().settings_to_cmd_args_env(settings_dict, parameters)
        return [str(installed_binaries().path("psql")), *arguments], environment
