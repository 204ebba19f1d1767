"""Worker process of ``benchmarks.sync``. It connects, prints a line, and drains the queue after a line on standard input.

python -m benchmarks.sync_worker DATABASE COLLECTION
"""

from __future__ import annotations

import gc
import sys

from benchmarks.program import run
from benchmarks.scratch import start


def main(database: str, collection: str) -> None:
    start()
    from django.conf import settings
    from django.db import connection

    connection.settings_dict["NAME"], settings.QDRANT_COLLECTION = database, collection
    from vectorstore.consistency import preflight
    from vectorstore.qdrant.connection import qdrant
    from vectorstore.sync.worker import sync_once

    with qdrant() as client:
        preflight.check_stores(client)
    gc.freeze()  # as sync_qdrant does
    _print_line("ready")
    sys.stdin.readline()
    sync_once()
    _print_line("done")


def _print_line(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run(lambda: main(*sys.argv[1:]))
