"""Import a collection page by page: read, check, compare, write, and store how far the run is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from accounts.models import User
from findme.core.commands.explanations import explain_error
from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.ingest.from_qdrant.cursor import Cursor, import_id_of
from vectorstore.ingest.from_qdrant.decision import Decision
from vectorstore.ingest.from_qdrant.pace import Pace
from vectorstore.ingest.from_qdrant.page import Outcome, Rules, import_page
from vectorstore.ingest.from_qdrant.points import Candidate, candidates, rejected, selection, users_of, without_data
from vectorstore.ingest.from_qdrant.results import Imported, increase
from vectorstore.ingest.from_qdrant.source import Source
from vectorstore.ingest.from_qdrant.stored import UserState, may_be_copied, users_among
from vectorstore.ingest.load import checked_model
from vectorstore.ingest.rejected_lines import Written
from vectorstore.ingest.rejects import RejectsFile, new_rejects_file, require_rejects_file
from vectorstore.ingest.rows import Kind, Rejection
from vectorstore.ingest.staging import in_transaction, staging
from vectorstore.projection.validation import printable
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.qdrant.pages import Page
from vectorstore.qdrant.scroll import EMBEDDED_PAGE_SIZE, PAGE_SIZE, pages_at
from vectorstore.retention.unique_vectors import UniqueVectors, version_floor

LOCK_KEY = int.from_bytes(hashlib.sha256(b"findme import of embeddings").digest()[:8], signed=True)
LOCK_SECONDS = 10.0
"""After a kill, a busy PostgreSQL may need a moment to notice that the connection is closed, and to release the lock."""

CONFLICTS = {
    Decision.CONFLICT: "the row in profile_embeddings and the point differ, and the row is not that of the last import",
    Decision.DELETED: "the row in profile_embeddings was deleted since its import",
}
COUNTS = {
    Decision.NEW: "imported",
    Decision.SAME: "unchanged",
    Decision.CHANGED: "updated",
    Decision.KEPT: "kept",
    Decision.CONFLICT: "conflicts",
    Decision.DELETED: "conflicts",
}


class ImportInterrupted(UserFacingError):
    """The run ended before the last point. ``imported`` has the counts until then."""

    def __init__(self, error: Exception, imported: Imported) -> None:
        what = (explain_error(error) or "").rstrip(".")
        place = "begins at the first point" if imported.dry_run else "continues there"
        super().__init__(
            f"{what}. {counted(imported.read, 'point was', 'points were')} read before that. Repair this, then run the command again: it {place}."
        )
        self.imported = imported


@contextmanager
def import_lock() -> Iterator[None]:
    """Let only one import run in this database at a time. Raise UserFacingError if another one runs."""
    lock = AdvisoryLock(connection, LOCK_KEY)
    with lock.held(LOCK_SECONDS, lambda: _busy(lock)):
        yield


def _busy(lock: AdvisoryLock) -> UserFacingError:
    holder = lock.holder()
    where = f" (session {holder[0]} of PostgreSQL)" if holder else ""
    return UserFacingError(f"Another process imports embeddings into this database{where}: nothing was done. Wait until it ends.")


def import_embeddings(
    source: Source,
    *,
    model: str | None = None,
    replace: bool = False,
    rejects: Path | None = None,
    limit_rate: int | None = None,
    dry_run: bool = False,
    report: Report = ignore_progress,
) -> Imported:
    """Import the points of ``source`` into ``profile_embeddings``, in constant memory, and pass the number of points to ``report``.

    ``model`` is the model of the vectors, by default ``EMBEDDING_MODEL``. With ``replace``, the point wins a conflict. At most ``limit_rate`` points
    a second are read. With ``dry_run``, only the rejects are written. Each page has its own transaction, so do not call this inside one.

    Raises UserFacingError before the first page, and ImportInterrupted afterwards.
    """
    found = Imported(source.collection, source.alias, source.vector, source.is_normalized, dry_run)
    chosen = checked_model(model)
    if rejects is not None:
        # Otherwise a wrong name would make the next run begin at the first point.
        require_rejects_file(rejects)
    with nullcontext() if dry_run else import_lock():
        cursor = None if dry_run else Cursor(source, {"model": chosen, "replace": replace}, rejects)
        import_id = import_id_of(source) if cursor is None else cursor.import_id
        if cursor is not None and cursor.after is not None:
            found.add_stored(cursor.counts)
            found.continued_after = str(cursor.after)
        # A point in a collection of this database is compared with the row that was imported from another collection.
        rules = Rules(source.collection, chosen, import_id, None if source.is_own else import_id or 0, source.is_cosine, replace, dry_run)
        with _rejects_file(cursor, rejects) as file, nullcontext() if dry_run else staging():
            run = _Run(rules, UniqueVectors(version_floor(dict(source.metadata))), cursor, file, found)
            try:
                _read_all(run, source, limit_rate, report)
            except CollectionNotFound as error:
                raise ImportInterrupted(
                    UserFacingError(f"The collection {source.collection!r} was deleted meanwhile"), run.found
                ) from error
            except (UserFacingError, OperationalError, InterfaceError) as error:
                if run.found.read == 0:
                    raise
                raise ImportInterrupted(error, run.found) from error
    return run.found


def _read_all(run: _Run, source: Source, limit_rate: int | None, report: Report) -> None:
    after = None if run.cursor is None else run.cursor.after
    pace = Pace(limit_rate)
    most = EMBEDDED_PAGE_SIZE if source.address is None else PAGE_SIZE
    size = pace.page_size(min(most, source.most_in_a_page or most))
    with closing(pages_at(source.address, source.collection, selection(source.vector), size, after)) as pages:
        for page in pages:
            run.take(page)
            report(run.found.read, max(source.points, run.found.read))
            pace.wait(len(page.ids))
    run.finish()


@contextmanager
def _rejects_file(cursor: Cursor | None, path: Path | None) -> Iterator[RejectsFile | None]:
    if cursor is not None:
        with cursor.rejects_file() as file:
            yield file
    elif path is not None:
        with new_rejects_file(path) as file:
            yield file
    else:
        yield None


@dataclass(slots=True)
class _Run:
    rules: Rules
    judge: UniqueVectors
    cursor: Cursor | None
    file: RejectsFile | None
    found: Imported

    def take(self, page: Page) -> None:
        """Import the page. If its transaction is repeated, so is what was written to the rejects file."""
        if not page.ids:
            return
        undo = None if self.file is None else self.file.undo()

        def work() -> Imported:
            if undo is not None:
                undo()
            found = copy.deepcopy(self.found)
            self._import(page, found)
            if self.cursor is not None:
                self.cursor.save(page.ids[-1], found, self.file)
            return found

        self.found = work() if self.rules.dry_run else in_transaction(work)

    def finish(self) -> None:
        self.found.users_without_point = max(0, _users() - self.found.users_with_point)
        if self.cursor is not None:
            self.cursor.finish(self.found)

    def _import(self, page: Page, found: Imported) -> None:
        users_of_points = list(map(users_of, page.ids, page.payloads))
        users = users_among(set[UUID]().union(*users_of_points))
        accepted, rejections = list[Candidate](), list[Rejection]()
        for index, entry in enumerate(candidates(page, self.rules.collection, found.read + 1)):
            if self.judge.is_own(page.payloads[index]):
                found.own += 1
            elif isinstance(entry, Rejection):
                owners = [users[user_id] for user_id in users_of_points[index]]
                rejections.append(entry if may_be_copied(owners) else without_data(entry))
            else:
                accepted.append(entry)
        outcome = import_page(accepted, users, self.rules)
        found.read += len(page.ids)
        found.users_with_point += sum(_may_have_point(users[point_id]) for point_id in page.ids if isinstance(point_id, UUID))
        self._count(accepted, outcome, found)
        findings = [*rejections, *outcome.rejections, *self._findings(accepted, outcome, found)]
        found.rejected += len(rejections) + len(outcome.rejections)
        for finding in sorted(findings, key=lambda finding: finding.line):
            self._report(finding, found)

    def _count(self, accepted: list[Candidate], outcome: Outcome, found: Imported) -> None:
        for name in outcome.differing:
            increase(found.differing_fields, name)
        for decision in outcome.decisions.values():
            name = "replaced" if decision.is_conflict and self.rules.replace else COUNTS[decision]
            setattr(found, name, getattr(found, name) + 1)

    def _findings(self, accepted: list[Candidate], outcome: Outcome, found: Imported) -> Iterator[Rejection]:
        """Yield a line for each conflict, and for each imported point of which a field was left out."""
        for candidate in accepted:
            decision = outcome.decisions.get(candidate.user_id)
            if decision is None:
                continue
            if decision.is_conflict and not self.rules.replace:
                yield rejected(candidate, self.rules.collection, Kind.CONFLICT, f"{str(candidate.user_id)!r}: {CONFLICTS[decision]}")
                continue
            for name, reason in candidate.problems.items():
                increase(found.invalid_fields, name)
                yield rejected(
                    candidate, self.rules.collection, Kind.LEFT_OUT, f"{str(candidate.user_id)!r}: {name} was left out: {reason}"
                )

    def _report(self, finding: Rejection, found: Imported) -> None:
        if finding.kind is not Kind.LEFT_OUT:
            increase(found.reasons, finding.kind)
        found.add_finding(printable(f"{finding.file}: point {finding.line}: {finding.reason}"))
        if self.file is not None:
            written = self.file.write(finding)
            found.shortened_rejects += written is Written.SHORTENED
            found.omitted_rejects += written is Written.OMITTED


def _may_have_point(user: UserState) -> bool:
    return user.is_known and not user.is_deleted and not user.is_objecting and not user.is_staff


def _users() -> int:
    """Return how many users may have a point that can be imported."""
    return int(User.objects.alive().members().filter(objected_at__isnull=True).count())
