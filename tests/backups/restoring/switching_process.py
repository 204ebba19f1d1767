"""Switch in processes that a test kills: ``python -m`` with the host, the port and the user of the server.

Each line of the input is one switch, as JSON: the database, the path of the journal, the folder of the Qdrant in files, and the number of the call at which
the process kills itself, or null. The output has the process id of the switch, then its wait status. Only this process has imported Django, so a
switch costs a fork.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import django
from django.conf import settings

from tests.support.killing import kill_at_call


def run(database: str, journal_path: str, folder: str, nth: int | None) -> None:
    from django.db import connection
    from django.db.backends.utils import CursorWrapper

    from backups.restoring.journal import open_journal
    from backups.restoring.switch import switch
    from tests.backups.restoring.stores import Qdrant

    connection.settings_dict["NAME"] = database
    with open_journal(Path(journal_path)) as journal:
        if nth is not None:
            steps = [(Path, "replace"), (Path, "unlink"), (Qdrant, "move_alias"), (Qdrant, "complete")]
            kill_at_call([(CursorWrapper, "execute"), *steps], nth)
        switch(journal, connection, Qdrant(Path(folder)))


def write(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    host, port, user = sys.argv[1:]
    server = {"ENGINE": "findme.core.postgresql", "HOST": host, "PORT": port, "USER": user}
    settings.configure(
        DATABASES={"default": server}, EMBEDDED_POSTGRES_DIR="/nonexistent/pg", QDRANT_PATH="/nonexistent/qdrant", USE_TZ=True
    )
    django.setup()
    children: list[int] = []
    for line in sys.stdin:
        arguments = json.loads(line)
        if not arguments:
            for child in children:
                write(os.waitpid(child, 0)[1])
            children.clear()
        elif child := os.fork():
            children.append(child)
            write(child)
        else:
            try:
                run(*arguments)
            except Exception as error:  # noqa: BLE001  # the parent has one line for each
                sys.stderr.write(f"{error}\n")
                os._exit(1)
            os._exit(0)


if __name__ == "__main__":
    main()
