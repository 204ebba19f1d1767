"""One call in a process of its own, for benchmarks that measure memory. It prints seconds, peak memory in MiB, and the number of queries.

The peak of ``restore`` is that of the largest of its processes.

python -m benchmarks.measured DATABASE COLLECTION FOLDER replay
python -m benchmarks.measured DATABASE COLLECTION FOLDER export USER
python -m benchmarks.measured DATABASE COLLECTION FOLDER backup
python -m benchmarks.measured DATABASE COLLECTION FOLDER verify_backup
python -m benchmarks.measured DATABASE COLLECTION FOLDER restore

FOLDER has the ledger and its keys, and takes the export. Its folder ``backups`` takes the backups.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.program import run
from benchmarks.scratch import start
from findme.core.errors import UserFacingError


@dataclass(frozen=True, slots=True)
class Measured:
    """``processor_seconds`` are those of the calling process alone, without PostgreSQL's and Qdrant's."""

    seconds: float
    processor_seconds: float
    mebibytes: float
    queries: int


def measured(folder: Path, *arguments: str) -> Measured:
    """Run this program with the benchmark's database and collection."""
    from django.conf import settings
    from django.db import connection

    database, collection = str(connection.settings_dict["NAME"]), settings.QDRANT_COLLECTION
    command = [sys.executable, "-m", "benchmarks.measured", database, collection, str(folder), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ourselves
    if ran.returncode:
        raise UserFacingError(f"{' '.join(arguments)} did not run: {ran.stderr.strip()[-500:]}")
    return Measured(**json.loads(ran.stdout))


def main(database: str, collection: str, folder: str, action: str, *arguments: str) -> None:
    start()
    from django.conf import settings
    from django.db import connection

    from benchmarks.ledger import use_ledger

    connection.settings_dict["NAME"], settings.QDRANT_COLLECTION = database, collection
    if not settings.QDRANT_URL:
        settings.QDRANT_PATH = f"{folder}/qdrant"
    connection.ensure_connection()
    use_ledger(Path(folder))
    settings.BACKUP_JOURNAL = f"{folder}/restore.json"
    queries = 0

    def count(execute: Callable[..., Any], *call: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*call)

    works: dict[str, Callable[[], None]] = {
        "replay": _replay,
        "export": lambda: _export(UUID(arguments[0]), Path(folder)),
        "backup": lambda: _back_up(Path(folder) / "backups"),
        "verify_backup": lambda: _verify_backup(Path(folder) / "backups"),
        "restore": lambda: _restore(Path(folder) / "backups"),
    }
    work = works[action]
    with connection.execute_wrapper(count):
        begun, processor = time.perf_counter(), time.process_time()
        work()
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    peak = _peak_mebibytes()
    if action == "restore":
        peak = max(peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    sys.stdout.write(json.dumps(asdict(Measured(seconds, processor, peak, queries))))


def _peak_mebibytes() -> float:
    """Return the peak memory of this process. On Linux, ``getrusage`` counts that of the process that has started it too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak) / 1024


def _replay() -> None:
    from privacy.actions.replay import replay

    result = replay()
    if result.copied or result.repeated or result.waiting:
        raise UserFacingError(f"The replay had something to do: {result}")


def _export(user_id: UUID, folder: Path) -> None:
    from privacy.actions.export import export_user_data

    export_user_data(user_id, folder / "export.zip", force=True)


def _back_up(place: Path) -> None:
    from backups.create import Request, create_backup
    from backups.destinations.opening import open_destination
    from backups.qdrant import Servers

    create_backup(open_destination(str(place)), Request("", (), (), Servers((), 600)))


def _verify_backup(place: Path) -> None:
    from backups.destinations.opening import open_destination
    from backups.verify import verify_backup
    from privacy.ledger.signing import verifying_keys

    destination = open_destination(str(place))
    verify_backup(destination, max(destination.names()), verifying_keys(), ())


def _restore(place: Path) -> None:
    from backups.contents import StoredBackup
    from backups.destinations.opening import open_destination
    from backups.listing import manifest_in
    from benchmarks.restore import restore_backup
    from privacy.ledger.signing import verifying_keys

    destination = open_destination(str(place))
    name = max(destination.names())
    restore_backup(StoredBackup(destination, name, ()), manifest_in(destination, name, verifying_keys()))


if __name__ == "__main__":
    run(lambda: main(*sys.argv[1:]))
