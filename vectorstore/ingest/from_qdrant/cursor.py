"""How far a collection was imported: stored in the transaction that writes the rows of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction

from vectorstore.ingest.from_qdrant.results import Imported
from vectorstore.ingest.from_qdrant.source import Source
from vectorstore.ingest.rejects import Extent, RejectsFile, can_continue, continued_rejects_file, new_rejects_file
from vectorstore.models import VectorImport


class Cursor:
    """The ``VectorImport`` of a source. ``after`` is the last point of the interrupted run that this run continues, None at the beginning."""

    def __init__(self, source: Source, options: Mapping[str, Any], rejects: Path | None) -> None:
        """Find the source. Begin at the first point, unless an interrupted run with the same options can be continued.

        Without its rejects file, an interrupted run cannot be continued.
        """
        self._rejects = None if rejects is None else str(rejects.absolute())
        with transaction.atomic(durable=True):
            self._row, _ = VectorImport.objects.get_or_create(place=source.place, collection=source.collection, vector=source.vector)
            if not self._can_continue(options):
                self._row.last_point, self._row.counts, self._row.options, self._row.rejects = "", {}, dict(options), None
                self._row.finished_at = None
                self._row.save()
                VectorImport.objects.filter(pk=self.import_id).update(started_at=TransactionNow())
        self.after = point_id_of(self._row.last_point) if self._row.last_point else None
        self.counts: Mapping[str, Any] = self._row.counts

    @property
    def import_id(self) -> int:
        return int(self._row.pk)

    @contextmanager
    def rejects_file(self) -> Iterator[RejectsFile | None]:
        """Yield the rejects file of the run, new or continued."""
        if self._rejects is None:
            yield None
        elif self.after is None:
            with new_rejects_file(Path(self._rejects)) as file:
                yield file
        else:
            with continued_rejects_file(Path(self._rejects), _extent(self._row.rejects)) as file:
                yield file

    def save(self, last: UUID | int, found: Imported, file: RejectsFile | None) -> None:
        """Store how far the run is, in the caller's transaction."""
        rejects = None if file is None else {"path": self._rejects} | asdict(file.extent)
        self._update(last_point=str(last), counts=found.stored_counts(), rejects=rejects)

    def finish(self, found: Imported) -> None:
        """Store the end of the run. The next one begins at the first point."""
        self._update(last_point="", counts=found.stored_counts(), rejects=None, finished_at=TransactionNow())

    def _update(self, **fields: Any) -> None:
        VectorImport.objects.filter(pk=self.import_id).update(**fields)

    def _can_continue(self, options: Mapping[str, Any]) -> bool:
        row = self._row
        if row.finished_at is not None or not row.last_point or row.options != options:
            return False
        if self._rejects is None:
            return True
        known: dict[str, Any] = row.rejects or {}
        return known.get("path") == self._rejects and can_continue(Path(self._rejects), _extent(known))


def _extent(rejects: Mapping[str, Any]) -> Extent:
    return Extent(rejects["size"], rejects.get("digest", ""))


def import_id_of(source: Source) -> int | None:
    """Return the id of the ``VectorImport`` of the source, None if it was never imported."""
    return (
        VectorImport.objects.filter(place=source.place, collection=source.collection, vector=source.vector)
        .values_list("pk", flat=True)
        .first()
    )


def point_id_of(text: str) -> UUID | int:
    """Return the id of a point from its text."""
    return int(text) if text.isdigit() else UUID(text)
