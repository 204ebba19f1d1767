"""Load embeddings from files: PostgreSQL first, batch by batch, and after each commit the vector store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError

from findme.core.commands.explanations import what_went_wrong
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError, one_line
from findme.core.plurals import counted
from vectorstore.ingest.formats.input_file import no_rows
from vectorstore.ingest.rejected_lines import Kept
from vectorstore.ingest.rejects import Write, rejects_file
from vectorstore.ingest.rows import Entry, Rejection, Row
from vectorstore.ingest.sending import sync_users
from vectorstore.ingest.sources import Source, paths, sizes, sources, total
from vectorstore.ingest.staging import staging, store
from vectorstore.models import ProfileEmbedding
from vectorstore.projection.validation import UNSTORABLE, printable

ROWS_IN_A_BATCH = 2000
BYTES_IN_A_BATCH = 8 << 20
"""Of the rows as they were read and as COPY writes them. Loading takes about four times as much."""
REJECTIONS_TOLD = 20


@dataclass(slots=True)
class Loaded:
    """What a run did, in rows: ``read`` is ``loaded``, ``loadable`` and ``rejected`` together, ``new`` of the loaded are of people without an embedding
    before. A dry run loads none: ``loadable`` is what it would load.

    The rejects file has ``shortened_rejects`` of the rejected rows without most of their content, and ``omitted_rejects`` not at all.

    ``projected`` points were written to the vector store, and ``quarantined`` people have none, since it refuses their data; ``awaiting_projection``
    people were loaded after it could not be reached.
    """

    read: int = 0
    loaded: int = 0
    loadable: int = 0
    new: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first_rejections: list[str] = field(default_factory=list)
    shortened_rejects: int = 0
    omitted_rejects: int = 0
    projected: int = 0
    quarantined: int = 0
    awaiting_projection: int = 0
    why_not_projected: str | None = None

    @property
    def clean(self) -> bool:
        return not (self.rejected or self.quarantined or self.awaiting_projection)


class LoadInterrupted(UserFacingError):
    """The run ended before its inputs did; ``loaded`` is what it did until then."""

    def __init__(self, error: Exception, loaded: Loaded) -> None:
        what = (what_went_wrong(error) or "").rstrip(".")
        super().__init__(
            f"{what}. Loaded before that: {counted(loaded.loaded, 'row')}. Run it again when this is mended: they may be loaded twice."
        )
        self.loaded = loaded


def upsert_embeddings(
    files: Sequence[str],
    *,
    rejects: Path | None = None,
    model: str | None = None,
    dry_run: bool = False,
    queue_only: bool = False,
    report: Report = ignore_progress,
) -> Loaded:
    """Load the FILES (``-`` is standard input), in constant memory; REPORT is told how many rows are read.

    Bad rows are written to REJECTS and never stop the good ones. MODEL names what made the vectors, by default ``EMBEDDING_MODEL``. With DRY_RUN
    the rows are checked, also against PostgreSQL, and nothing is written but the rejects. With QUEUE_ONLY the points are left to the workers of
    ``sync_qdrant``. Each batch is a transaction of its own: call it outside
    of any. Raises UserFacingError before anything is loaded where an input cannot be read, and LoadInterrupted afterwards; the rows that
    are loaded stay loaded where the vector store cannot be reached.
    """
    inputs = sources(files)
    run = _Run(_model(model), dry_run, queue_only, Loaded())
    with rejects_file(rejects, paths(files), sizes(files)) as write, staging():
        try:
            for batch in _batches(inputs):
                run.take(batch, write)
                report(run.loaded.read, total(inputs))
        except (UserFacingError, OperationalError, InterfaceError) as error:
            raise LoadInterrupted(error, run.loaded) from error
    return run.loaded


@dataclass(slots=True)
class _Run:
    model: str
    dry_run: bool
    queue_only: bool
    loaded: Loaded

    def take(self, batch: Sequence[Entry], write: Write) -> None:
        """Store the good rows of the batch, project what was stored, and tell the bad ones."""
        stored = store([entry for entry in batch if isinstance(entry, Row)], model=self.model, dry_run=self.dry_run)
        self.loaded.read += len(batch)
        if self.dry_run:
            self.loaded.loadable += len(stored.loaded)
        else:
            self.loaded.loaded += len(stored.loaded)
        self.loaded.new += stored.new
        if stored.loaded and not (self.dry_run or self.queue_only):
            self._sync(stored.loaded)
        for rejection in _in_order(batch, stored.rejections):
            self._reject(rejection)
            self._note(write(rejection))

    def _reject(self, rejection: Rejection) -> None:
        self.loaded.rejected += 1
        self.loaded.reasons[rejection.kind] = self.loaded.reasons.get(rejection.kind, 0) + 1
        if len(self.loaded.first_rejections) < REJECTIONS_TOLD:
            self.loaded.first_rejections.append(printable(f"{rejection.file}:{rejection.line}: {rejection.reason}"))

    def _note(self, kept: Kept) -> None:
        self.loaded.shortened_rejects += kept is Kept.SHORTENED
        self.loaded.omitted_rejects += kept is Kept.OMITTED

    def _sync(self, user_ids: list[UUID]) -> None:
        """Once the store could not be reached it is left alone: every further batch might wait for it in vain, and one sync mends all."""
        if self.loaded.why_not_projected is None:
            try:
                done = sync_users(user_ids)
                self.loaded.projected += done.written
                self.loaded.quarantined += len(done.rejected)
            except UserFacingError as error:
                self.loaded.why_not_projected = one_line(error)
        if self.loaded.why_not_projected is not None:
            self.loaded.awaiting_projection += len(user_ids)


def _model(name: str | None) -> str:
    chosen: str = settings.EMBEDDING_MODEL if name is None else name
    longest = ProfileEmbedding._meta.get_field("model").max_length
    if longest is not None and len(chosen) > longest:
        raise UserFacingError(f"The model's name has {len(chosen)} characters, and may have {longest}: {chosen[:60]!r}...")
    if UNSTORABLE.search(chosen):
        raise UserFacingError(f"The model's name has a character that PostgreSQL cannot keep: {chosen!r}.")
    return chosen


def _batches(inputs: Sequence[Source]) -> Iterator[list[Entry]]:
    """The rows of all inputs, so many that a batch stays small; before an error is raised, the rows that were read."""
    batch: list[Entry] = []
    size = 0
    try:
        for entry in _entries(inputs):
            batch.append(entry)
            size += entry.size + (entry.content.size if isinstance(entry, Row) else 0)
            if len(batch) == ROWS_IN_A_BATCH or size > BYTES_IN_A_BATCH:
                yield batch
                batch, size = [], 0
    except UserFacingError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _entries(inputs: Sequence[Source]) -> Iterator[Entry]:
    for source in inputs:
        empty = True
        for entry in source.entries():
            empty = False
            yield entry
        if empty:
            raise no_rows(source.name)


def _in_order(batch: Sequence[Entry], stored: Mapping[int, Rejection]) -> Iterator[Rejection]:
    """The rejections of the readers and of PostgreSQL, as they stand in the input."""
    rows = 0
    for entry in batch:
        if isinstance(entry, Rejection):
            yield entry
        else:
            if rows in stored:
                yield stored[rows]
            rows += 1
