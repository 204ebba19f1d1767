"""Call a function in a process whose database is another one, and that cannot name the live database.

The process gets the name of the function and its arguments on its standard input, and writes what it does on its standard output, in lines of JSON.
It ends when its standard input does, so it never outlives this process.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast
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
    """Call ``function`` of a module of ``backups`` with ``arguments`` and a ``report``, in a process whose database is ``database``.

    The arguments and the result are JSON. ``changed`` are settings that the process gets instead of those of this one. Its log records from level
    INFO are logged here. Raises the UserFacingError or StoreUnavailable of the function, and RuntimeError for a defect, whose traceback is on stderr.
    """
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
    job = {"module": function.__module__, "function": function.__qualname__, "arguments": dict(arguments)}
    command = [sys.executable, "-P", "-m", child.__name__]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            return _answer(process, job, report)
        finally:
            process.kill()


def _answer(process: subprocess.Popen[str], job: Json, report: Report) -> Json:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended: the code says why
    for line in process.stdout:
        match json.loads(line):
            case {"done": done, "total": total}:
                report(done, total)
            case {"log": name, "level": level, "message": message}:
                logging.getLogger(name).log(level, "%s", message)
            case {"error": text, "kind": kind}:
                raise KINDS[kind](text)
            case {"result": result}:
                return cast("Json", result)
    code = process.wait()
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
