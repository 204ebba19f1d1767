"""Adoption: make a collection belong to this database that another one wrote, or that names no database (protocol, rule 8)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from privacy.audit import record_adoption
from vectorstore.adoption.copy import Copy, require_no_other_copy, snapshots_to_delete
from vectorstore.adoption.fence import fenced, lift
from vectorstore.adoption.in_place import adopt_in_place
from vectorstore.adoption.losses import require_no_foreign_vectors, require_stored
from vectorstore.adoption.replace import Replaced, replace_by_alias
from vectorstore.adoption.survey import Survey, Vectors
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.saved_settings import saved_settings
from vectorstore.consistency import checkpoint
from vectorstore.consistency.possibly_erased import require_after_restore
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.schema.definition import Change
from vectorstore.schema.initialize import GREEN_SECONDS, OnPlan, carry_out, wait_until_green
from vectorstore.schema.plan import Plan, describe_remaining, plan, refuse
from vectorstore.snapshots.downloads import delete_downloads, downloads
from vectorstore.snapshots.nodes import Node, every_node
from vectorstore.snapshots.repository import Snapshot
from vectorstore.verification.repair import change_limit

RETAIN = timedelta(days=7)
"""How long the copy of a replaced collection is retained by default."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The plan and the result of an adoption.

    ``removed`` points had no user. ``replaced`` is set if a real collection had the alias's name. ``remaining`` describes a difference that
    needs a new collection. ``status`` is None if nothing was changed. ``arrived_later`` points hold a unique vector that was written after
    the survey. They stay. ``intended`` is what a replacement does, for a dry run.
    """

    planned: Plan
    survey: Survey
    removed: int = 0
    replaced: Replaced | None = None
    remaining: str | None = None
    status: str | None = None
    arrived_later: int = 0
    intended: Replacement | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """What the replacement of a real collection does: its servers, the copy that it retains, and the snapshots that it deletes."""

    nodes: tuple[Node, ...]
    copy: Copy | None
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's options.

    ``max_changes`` and ``force`` limit the points to remove, ``discard_vectors`` the vectors that may be lost. ``after_restore`` confirms that the
    operator has checked the users without a point. ``retain`` is how long a copy of a replaced collection is retained: None means ``RETAIN`` on a
    server. ``folder`` is for the downloaded snapshot, ``nodes`` are the URLs of a cluster.
    """

    max_changes: int | None = None
    force: bool = False
    discard_vectors: int = 0
    after_restore: bool = False
    retain: timedelta | None = None
    folder: Path | None = None
    nodes: Sequence[str] = ()


def adopt(
    options: Options = Options(),
    *,
    dry_run: bool = False,
    green_seconds: float = GREEN_SECONDS,
    on_plan: OnPlan = ignore_progress,
    report: Report = ignore_progress,
) -> Adopted:
    """Make the collection belong to this database, then apply the definition. One process at a time.

    After a kill the next run resumes. A difference that needs a new collection is left to ``reindex_qdrant``, which builds none next to
    another database's collection. With nothing changed, raises UserFacingError if

    - more points than ``max_changes`` (the greater of 100 and 5 %) would be removed, without ``force``;
    - a FindMe database wrote the collection, users in PostgreSQL have no point in it, and ``after_restore`` does not confirm that the operator
      has checked them;
    - vectors would be lost that ``discard_vectors`` does not cover (``force`` does not allow these);
    - a collection must be created and a node of the cluster does not answer;
    - a difference needs a new collection, and nothing is to be adopted.
    """
    with collection_lock():
        with qdrant() as client:
            planned = plan(client)
            refuse(planned, Change.ADOPTION, *([Change.NEW_COLLECTION] if planned.is_to_be_adopted else []))
            intended = _replacement(client, planned, options) if planned.live.name_taken else None
            if not dry_run:
                if planned.differs("collection ") or intended is not None:
                    require_all_nodes(client)
                _tidy_up(client)
        limit = DiscardLimit(options.discard_vectors)
        if intended is not None:
            done = _replace(planned, intended, options, limit, dry_run, green_seconds, on_plan, report)
        else:
            done = _adopt_in_place(planned, options, limit, dry_run, on_plan, report)
        if dry_run:
            return done
        with qdrant() as client:
            if done.remaining is not None:
                return replace(done, status=wait_until_green(client, planned.collection, green_seconds, report))
            return replace(done, status=carry_out(client, plan(client), green_seconds, report))


def _replacement(client: QdrantClient, planned: Plan, options: Options) -> Replacement:
    """Return what will be done. Changes nothing. Raises UserFacingError for what can be refused before."""
    retain = options.retain
    if is_embedded():
        if retain:
            raise UserFacingError(
                f"The embedded store has no snapshots, so no copy can be retained: nothing was changed. Copy the folder {settings.QDRANT_PATH!r},"
                " then omit --retain."
            )
        return Replacement((), None, ())
    nodes = every_node(client, options.nodes)
    retain = RETAIN if retain is None else retain
    if not retain:
        return Replacement(nodes, None, snapshots_to_delete(nodes, planned.alias))
    require_no_other_copy(client)
    return Replacement(nodes, Copy(retain, options.folder), snapshots_to_delete(nodes, planned.alias))


def tidy_up_after_kill() -> None:
    """Delete and restore what a killed adoption has left. Plain ``init_qdrant`` does this first. One process at a time."""
    if downloads() or collection_name() in saved_settings():
        with collection_lock(), qdrant() as client:
            _tidy_up(client)


def _tidy_up(client: QdrantClient) -> None:
    """Delete what a killed run has left: the downloaded snapshot, and the settings that it changed."""
    delete_downloads()
    lift(client, collection_name())


def _replace(
    planned: Plan,
    intended: Replacement,
    options: Options,
    limit: DiscardLimit,
    dry_run: bool,
    green_seconds: float,
    on_plan: OnPlan,
    report: Report,
) -> Adopted:
    """Replace the real collection that has the alias's name. It is fenced against upserts from here until it is deleted, or until an error."""
    fence = nullcontext() if dry_run else fenced(intended.nodes, planned.alias)
    with Vectors(planned.alias, replaced=True, folder=options.folder) as vectors, fence:
        survey = vectors.survey(report)
        done = Adopted(planned, survey, intended=intended)
        if dry_run:
            _check_change_limit(survey, options)
            return done
        require_stored(survey, limit, planned.alias)
        _check_change_limit(survey, options)
        on_plan(planned)
        with record_adoption(planned.alias):
            replaced = replace_by_alias(
                intended.nodes, vectors, survey, copy=intended.copy, timeout=green_seconds, limit=limit, report=report
            )
        return replace(done, replaced=replaced, removed=survey.orphans + survey.unusable)


def _adopt_in_place(planned: Plan, options: Options, limit: DiscardLimit, dry_run: bool, on_plan: OnPlan, report: Report) -> Adopted:
    """Adopt the collection behind the alias, or the one that the alias shall point to. Its points stay until workers write them again."""
    survey = Survey()
    if planned.is_to_be_adopted:
        with Vectors(planned.collection, replaced=False, folder=options.folder) as vectors:
            survey = vectors.survey(report)
        limit.counts[planned.collection] = survey.unique_vectors
    if not dry_run:
        limit.require()
        require_no_foreign_vectors(survey, limit, planned.collection)
        if planned.is_to_be_adopted and not options.after_restore and _has_checkpoint(planned):
            require_after_restore(planned.collection, "manage.py init_qdrant --adopt")
    _check_change_limit(survey, options)
    done = Adopted(planned, survey, remaining=describe_remaining(planned))
    if dry_run:
        return done
    on_plan(planned)
    if not planned.is_to_be_adopted:
        return done
    with record_adoption(planned.collection):
        removed, arrived_later = adopt_in_place(planned, limit, report)
    return replace(done, removed=removed, arrived_later=arrived_later)


def _has_checkpoint(planned: Plan) -> bool:
    """Return whether a FindMe database wrote the collection: this PostgreSQL is then a copy of that one, restored under another id."""
    found = planned.live.found
    return found is not None and checkpoint.KEY in (found.config.metadata or {})


def _check_change_limit(survey: Survey, options: Options) -> None:
    allowed = change_limit(survey.points, options.max_changes)
    if survey.orphans > allowed and not options.force:
        raise UserFacingError(
            f"{survey.orphans:,} of {counted(survey.points, 'point')} {plural(survey.orphans, 'has', 'have')} no user in PostgreSQL and the limit is {allowed:,}: nothing"
            " was changed. Check that DATABASE_URL and QDRANT_URL belong together, then rerun with"
            f" --max-changes {survey.orphans} or --force."
        )
