"""The collection of a database that is being restored. On a server, its snapshots are uploaded while PostgreSQL is restored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart.run import Apart
from backups.restoring.journal import Journal
from backups.restoring.prepare import make_collection, upload_collection
from findme.core.commands.progress import Report, ignore_progress
from vectorstore.catalog.alias import alias_target
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.snapshots.aside import next_name

log = logging.getLogger("findme.backups")


class NewCollection:
    """The collection that becomes live with the ``scratch`` database. ``snapshots`` are empty if it is built from PostgreSQL.

    The journal has its name before the upload begins, so the next run drops it if this one is killed.
    """

    def __init__(
        self, scratch: BaseDatabaseWrapper, journal: Journal, snapshots: Sequence[Path], nodes: Sequence[str], seconds: float
    ) -> None:
        with qdrant() as client:
            self.name, before = next_name(client), alias_target(client)
        journal.note(alias=collection_name(), old_collection=before, new_collection=self.name)
        self._process = Apart(scratch, make_collection.__module__)
        self._is_uploading = self._is_uploaded = bool(snapshots)
        if snapshots:
            paths, addresses = list(map(str, snapshots)), list(nodes)
            self._process.begin(upload_collection, {"name": self.name, "snapshots": paths, "nodes": addresses, "seconds": seconds})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process. After an error wait for the upload, because the server would finish it after the collection was dropped."""
        with self._process:
            if error is not None and self._is_uploading:
                with suppress(Exception):
                    self._end_upload(ignore_progress)

    def make(self, *, min_recall: float | None, discard_vectors: int, timeout: float, report: Report) -> dict[str, Any]:
        """Compare every point with the database, and return what ``make_collection`` has done. Raises as it does, and as the upload."""
        if self._is_uploading:
            self._end_upload(report)
        arguments = {
            "name": self.name,
            "is_uploaded": self._is_uploaded,
            "min_recall": min_recall,
            "discard_vectors": discard_vectors,
            "timeout": timeout,
        }
        made = self._process.call(make_collection, arguments, report)
        log.info("Every point of %s was compared with the restored PostgreSQL: no difference.", self.name)
        return made

    def _end_upload(self, report: Report) -> None:
        self._is_uploading = False
        self._process.result(report)
