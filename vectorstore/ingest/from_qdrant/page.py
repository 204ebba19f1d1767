"""Write one page of points to PostgreSQL, in the caller's transaction."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from accounts.age import age_on
from findme.core.postgresql.arrays import uuid_array
from vectorstore.ingest import binary_copy, staging
from vectorstore.ingest.from_qdrant.decision import Decision, decide
from vectorstore.ingest.from_qdrant.digests import Base
from vectorstore.ingest.from_qdrant.points import Candidate, rejected, without_data
from vectorstore.ingest.from_qdrant.stored import Embedding, UserState, bases, embeddings, locked_users, may_be_copied
from vectorstore.ingest.rows import Kind, Rejection

COPY_DIGESTS = "COPY vector_import_digests (user_id, import_id, point, stored) FROM STDIN (FORMAT BINARY)"
DELETE_DIGESTS = "DELETE FROM vector_import_digests WHERE user_id = ANY(%s::uuid[])"


@dataclass(frozen=True, slots=True)
class Rules:
    """How the points of one source are compared and written.

    ``import_id`` is the id of the ``VectorImport``, None for a dry run of a collection that was never imported. ``bases_of`` is the import whose
    digests count, None for every import. ``replace``: a conflict is decided for the point.
    """

    collection: str
    model: str
    import_id: int | None
    bases_of: int | None
    is_cosine: bool
    replace: bool
    dry_run: bool


@dataclass(slots=True)
class Outcome:
    """What was decided about the candidates of a page."""

    decisions: dict[UUID, Decision] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def import_page(candidates: Sequence[Candidate], found: Mapping[UUID, UserState], rules: Rules) -> Outcome:
    """Write the points that must be written. ``found`` has the users of the candidates, who were not locked.

    Only users and rows that will be written are locked. They are then read and decided again, because another session may have changed them.
    """
    outcome = Outcome()
    accepted = _accepted(candidates, found, rules, outcome)
    for candidate in accepted:
        outcome.differing += differing_fields(candidate.payload, found[candidate.user_id])
    known = bases([candidate.user_id for candidate in accepted], rules.bases_of)
    compared = _compared(accepted, known, rules, lock=False)
    outcome.decisions = {user_id: decision for user_id, (decision, _) in compared.items()}
    if rules.dry_run:
        return outcome
    writing = [one for one in accepted if _is_written(*compared[one.user_id], known.get(one.user_id), one, rules)]
    if writing:
        _write(writing, known, rules, outcome)
    return outcome


def _accepted(candidates: Iterable[Candidate], found: Mapping[UUID, UserState], rules: Rules, outcome: Outcome) -> list[Candidate]:
    """Return the candidates whose users may have data, and add the others to the rejections."""
    accepted = []
    for candidate in candidates:
        problem = _problem(candidate.user_id, found[candidate.user_id])
        if problem is None:
            accepted.append(candidate)
        else:
            outcome.decisions.pop(candidate.user_id, None)
            rejection = rejected(candidate, rules.collection, *problem)
            outcome.rejections.append(rejection if may_be_copied([found[candidate.user_id]]) else without_data(rejection))
    return accepted


def _problem(user_id: UUID, user: UserState) -> tuple[Kind, str] | None:
    if user.is_erased:
        kind = Kind.ERASED_USER
    elif not user.is_known:
        kind = Kind.UNKNOWN_USER
    elif user.is_deleted:
        kind = Kind.DELETED_USER
    elif user.is_objecting:
        kind = Kind.OBJECTING_USER
    else:
        return None
    return kind, staging.BARRED[kind].format(repr(str(user_id)))


def _compared(
    candidates: Sequence[Candidate], known: Mapping[UUID, Base], rules: Rules, *, lock: bool
) -> dict[UUID, tuple[Decision, Embedding | None]]:
    rows = embeddings([candidate.user_id for candidate in candidates], lock=lock)
    compared: dict[UUID, tuple[Decision, Embedding | None]] = {}
    for candidate in candidates:
        row = rows.get(candidate.user_id)
        decision = decide(candidate, row, known.get(candidate.user_id), is_cosine=rules.is_cosine)
        compared[candidate.user_id] = decision, row
    return compared


def _is_written(decision: Decision, row: Embedding | None, base: Base | None, candidate: Candidate, rules: Rules) -> bool:
    """Return whether the row or the digests of the candidate change."""
    if decision is Decision.SAME:
        assert row is not None
        return base != Base(candidate.digest, row.digest)
    return decision in (Decision.NEW, Decision.CHANGED) or (decision.is_conflict and rules.replace)


def _write(candidates: Sequence[Candidate], known: Mapping[UUID, Base], rules: Rules, outcome: Outcome) -> None:
    accepted = _accepted(candidates, locked_users([candidate.user_id for candidate in candidates]), rules, outcome)
    compared = _compared(accepted, known, rules, lock=True)
    outcome.decisions |= {user_id: decision for user_id, (decision, _) in compared.items()}
    inserted, updated, digests = list[Candidate](), list[Candidate](), list[tuple[UUID, Base]]()
    for candidate in accepted:
        decision, row = compared[candidate.user_id]
        if not _is_written(decision, row, known.get(candidate.user_id), candidate, rules):
            continue
        if decision is Decision.SAME:
            assert row is not None
            digests.append((candidate.user_id, Base(candidate.digest, row.digest)))
            continue
        (inserted if row is None else updated).append(candidate)
        digests.append((candidate.user_id, Base(candidate.digest, candidate.digest)))
    with connection.cursor() as cursor:
        staging.insert(cursor, [candidate.content for candidate in inserted], rules.model)
        staging.update(cursor, [candidate.content for candidate in updated], rules.model)
        if digests:
            assert rules.import_id is not None
            # Another import may have stored digests too.
            cursor.execute(DELETE_DIGESTS, [uuid_array(user_id for user_id, _ in digests)])
            staging.copy_into(cursor, COPY_DIGESTS, b"".join(_digest_lines(digests, rules.import_id)))


def _digest_lines(digests: Iterable[tuple[UUID, Base]], import_id: int) -> Iterator[bytes]:
    for user_id, base in digests:
        yield binary_copy.line([user_id.bytes, *(struct.pack("!q", number) for number in (import_id, base.point, base.stored))])


def differing_fields(payload: Mapping[str, Any], user: UserState) -> list[str]:
    """Return the fields of the payload that differ from the user's. A field that is missing in the payload does not differ."""
    expected: dict[str, object] = {"gender": user.gender, "active": user.active, "verified": user.verified}
    if user.date_of_birth is not None:
        expected["age"] = age_on(user.date_of_birth, user.today)
    return [name for name, value in expected.items() if payload.get(name) is not None and payload[name] != value]
