"""Texts and JSON of ``init_qdrant --adopt``: what an adoption would do, and what it has done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from findme.core.plurals import counted, plural
from vectorstore.adoption.adopt import Adopted
from vectorstore.adoption.losses import describe, discardable, next_step
from vectorstore.catalog import registry
from vectorstore.retention.unique_vectors import points_hold
from vectorstore.snapshots.downloads import download_parent


def adoption_json(done: Adopted) -> dict[str, Any]:
    adopted = {
        "points": done.survey.points,
        "orphans": done.survey.orphans,
        "removed": done.removed,
        "replaced": done.replaced,
        "remaining": done.remaining,
        "different": done.survey.different,
        "unusable": done.survey.unusable,
        "examples": done.survey.examples,
        "copy": registry.copy_name() if done.intended is not None and done.intended.copy is not None else None,
        "snapshots": [one.name for one in done.intended.snapshots] if done.intended is not None else [],
    }
    return {"adopted": adopted, "unique_vectors": done.survey.unique_vectors, "unique_vectors_arrived_later": done.arrived_later}


def adoption_plan(done: Adopted, allowed: int) -> Iterator[str]:
    """Yield sentences about the vectors that would be lost, and what a replacement would do."""
    survey, intended = done.survey, done.intended
    if intended is None:
        if survey.unique_vectors:
            yield _unique_vectors_line(survey.unique_vectors, allowed)
        if survey.different:
            yield f"{counted(survey.different, 'vector')} of another program {plural(survey.different, 'differs', 'differ')} from PostgreSQL's."
        return
    name = done.planned.alias
    if survey.unique_vectors or discardable(survey) > allowed:
        yield f"{describe(survey, name)}: --adopt would be refused. {next_step(survey, name)}"
    elif discardable(survey):
        yield f"{describe(survey, name)}, and would be deleted."
    else:
        yield f"PostgreSQL has all {survey.points - survey.orphans:,} vectors of users."
    for kind, ids in survey.examples.items():
        yield f"  {kind.replace('_', ' ')}: {', '.join(ids)}"
    if not intended.nodes:
        yield "No copy would be retained, because the embedded store has no snapshots."
        return
    yield f"{name} would refuse upserts until it is replaced. Searches would continue."
    if intended.copy is None:
        yield "No copy would be retained."
    else:
        folder = str(download_parent(intended.copy.folder))
        yield f"{registry.copy_name()} would be retained for {_days(intended.copy.retain)}. Its snapshot would be in {folder!r} while it is made."
    for one in intended.snapshots:
        yield f"The snapshot {one.name} of {one.made_at:%Y-%m-%d %H:%M:%S} UTC would be deleted, because Qdrant lists none of a deleted collection."


def _days(retain: timedelta) -> str:
    return f"{retain.days} days" if retain.days > 1 and not retain.seconds else str(retain)


def _unique_vectors_line(count: int, allowed: int) -> str:
    if count <= allowed:
        return f"{points_hold(count)} the only copy of a user's vector, and would be deleted."
    return (
        f"{points_hold(count)} the only copy of a user's vector: --adopt would be refused. Import them first (manage.py import_embeddings), or add"
        f" --discard-vectors {count}."
    )
