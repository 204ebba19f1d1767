"""Load embeddings from files into PostgreSQL in batches, and project each batch to the vector store after its commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError

from findme.core.commands.explanations import explain_error
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError, one_line
from findme.core.plurals import counted
from vectorstore.ingest.formats.input_file import no_rows
from vectorstore.ingest.rejected_lines import Written
from vectorstore.ingest.rejects import Write, rejects_file
from vectorstore.ingest.rows import Entry, Rejection, Row
from vectorstore.ingest.sending import sync_users
from vectorstore.ingest.sources import Source, paths, sizes, sources, total
from vectorstore.ingest.staging import staging, store
from vectorstore.models import ProfileEmbedding
from vectorstore.projection.validation import UNSTORABLE, printable

ROWS_IN_A_BATCH = 2000
BYTES_IN_A_BATCH = 8 << 20
"""Maximum size of the rows as read plus their size in COPY's format. Loading a batch takes about four times as much memory."""
SHOWN_REJECTIONS = 20


@dataclass(slots=True)
class Loaded:
    """Counts of a run, in rows.

    - ``read`` is the sum of ``loaded``, ``loadable`` and ``rejected``. ``loadable`` counts what a dry run would load.
    - ``new``: loaded rows of users without an embedding before.
    - ``shortened_rejects``: rejected rows that the rejects file has without most of their content. ``omitted_rejects``: those that it does not have.
    - ``projected``: points written to the vector store.
    - ``quarantined``: users without a point, because the vector store rejects their data.
    - ``awaiting_projection``: users loaded after the vector store became unavailable.
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
    """The run ended before the end of its inputs. ``loaded`` has the counts until then."""

    def __init__(self, error: Exception, loaded: Loaded) -> None:
        what = (explain_error(error) or "").rstrip(".")
        super().__init__(
            f"{what}. Loaded before that: {counted(loaded.loaded, 'row')}. Repair this, then run the command again: rows may be loaded twice."
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
    """Load ``files`` (``-`` is standard input) in constant memory, and pass the number of read rows to ``report``.

    Bad rows are written to ``rejects`` and do not stop the good ones. ``model`` is the model of the vectors, by default ``EMBEDDING_MODEL``. With
    ``dry_run``, the rows are checked, also against PostgreSQL, and only the rejects are written. With ``queue_only``, the workers of ``sync_qdrant``
    write the points. Each batch has its own transaction, so do not call this inside one.

    Raises UserFacingError before the first row is loaded if an input cannot be read, and LoadInterrupted afterwards. If the vector store is
    unavailable, the loaded rows stay loaded.
    """
    inputs = sources(files)
    run = _Run(checked_model(model), dry_run, queue_only, Loaded())
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
        """Store the good rows of the batch, project them, and write the bad ones to the rejects file."""
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
            self._count(write(rejection))

    def _reject(self, rejection: Rejection) -> None:
        self.loaded.rejected += 1
        self.loaded.reasons[rejection.kind] = self.loaded.reasons.get(rejection.kind, 0) + 1
        if len(self.loaded.first_rejections) < SHOWN_REJECTIONS:
            self.loaded.first_rejections.append(printable(f"{rejection.file}:{rejection.line}: {rejection.reason}"))

    def _count(self, written: Written) -> None:
        self.loaded.shortened_rejects += written is Written.SHORTENED
        self.loaded.omitted_rejects += written is Written.OMITTED

    def _sync(self, user_ids: list[UUID]) -> None:
        """Project the users, unless the vector store was unavailable before in this run.

        Otherwise every further batch could wait for a timeout. One later sync writes all points.
        """
        if self.loaded.why_not_projected is None:
            try:
                done = sync_users(user_ids)
                self.loaded.projected += done.written
                self.loaded.quarantined += len(done.rejected)
            except UserFacingError as error:
                self.loaded.why_not_projected = one_line(error)
        if self.loaded.why_not_projected is not None:
            self.loaded.awaiting_projection += len(user_ids)


def checked_model(name: str | None) -> str:
    """Return the name of the model, by default ``EMBEDDING_MODEL``. Raise UserFacingError for one that PostgreSQL cannot store."""
    chosen: str = settings.EMBEDDING_MODEL if name is None else name
    longest = ProfileEmbedding._meta.get_field("model").max_length
    if longest is not None and len(chosen) > longest:
        raise UserFacingError(f"The model name {chosen[:60]!r}... has {len(chosen)} characters. Use at most {longest}.")
    if UNSTORABLE.search(chosen):
        raise UserFacingError(f"The model name {chosen!r} contains a character that PostgreSQL cannot store. Use another name.")
    return chosen


def _batches(inputs: Sequence[Source]) -> Iterator[list[Entry]]:
    """Yield the rows of all inputs in batches of limited size. Before an error is raised, yield the rows read so far."""
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
    """Yield the rejections of the readers and of PostgreSQL, in the order of the input."""
    rows = 0
    for entry in batch:
        if isinstance(entry, Rejection):
            yield entry
        else:
            if rows in stored:
                yield stored[rows]
            rows += 1
