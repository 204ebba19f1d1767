"""From a point of another program to the content of a row: what can be imported, what is invalid, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn
from uuid import UUID

from vectorstore.ingest.formats.plain_json import plain_json
from vectorstore.ingest.from_qdrant.digests import digest
from vectorstore.ingest.rows import CHECKS, UNSET, BadRow, Content, Kind, Rejection, uuid_of
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection import vectors
from vectorstore.projection.validation import truncated_repr
from vectorstore.projection.vectors import Reals
from vectorstore.qdrant.pages import Page, Selection

OPTIONAL = ("location", "interests", "video_features")
"""Fields that are imported if they are valid."""
OF_USERS = ("gender", "age", "active", "verified")
"""Fields that PostgreSQL decides. They are compared only."""
PAYLOAD = ("user_id", *OPTIONAL, *OF_USERS, "version")


@dataclass(frozen=True)
class Candidate:
    """A point that can be imported. ``problems`` has the reason for each optional field that is invalid, and left out of ``content``."""

    line: int
    content: Content
    payload: Mapping[str, Any]
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def user_id(self) -> UUID:
        return self.content.user_id

    @property
    def vector(self) -> Reals:
        assert self.content.vector is not UNSET
        return self.content.vector

    @property
    def video_features(self) -> Reals | None:
        assert self.content.video_features is not UNSET
        return self.content.video_features

    @cached_property
    def digest(self) -> int:
        location, interests = self.content.location, self.content.interests
        assert location is not UNSET and interests is not UNSET
        return digest(self.vector, location, interests, self.video_features)


def selection(vector: str) -> Selection:
    """Return what is read of each point."""
    return Selection(vector, PAYLOAD)


def candidates(page: Page, collection: str, first_line: int) -> Iterator[Candidate | Rejection]:
    """Yield each point of the page as a candidate or a rejection, in order. The first point has the number ``first_line``."""
    rounded, valid = vectors.matrix(page.vectors)
    for index, (point_id, payload, length) in enumerate(zip(page.ids, page.payloads, page.lengths, strict=True)):
        line, original = first_line + index, _original(point_id, rounded[index], length, payload)
        try:
            user_id = _user_id(point_id, payload)
            if not valid[index]:
                _refuse_vector(rounded[index], length)
        except BadRow as bad:
            yield Rejection(collection, line, bad.kind, bad.reason, original)
        else:
            yield _candidate(line, user_id, rounded[index], payload)


def rejected(candidate: Candidate, collection: str, kind: Kind, reason: str) -> Rejection:
    """Return the rejection of a candidate."""
    original = _original(candidate.user_id, candidate.vector, VECTOR_SIZE, candidate.payload)
    return Rejection(collection, candidate.line, kind, reason, original)


def without_data(rejection: Rejection) -> Rejection:
    """Return the rejection with the id of the point only.

    The data of a deleted, erased or unknown user must not get into one more file. ``upsert_embeddings`` rejects a row with the field ``shortened``.
    """
    original = rejection.original

    def row() -> dict[str, object]:
        fields = original()
        assert isinstance(fields, dict)
        return {"user_id": fields["user_id"], "shortened": True}

    return replace(rejection, original=row)


def users_of(point_id: UUID | int, payload: Mapping[str, Any]) -> set[UUID]:
    """Return the users whose data the point may be: its id is one, and its payload may name one."""
    named = payload.get("user_id")
    found = (point_id if isinstance(point_id, UUID) else None, uuid_of(named) if isinstance(named, str) else None)
    return {user_id for user_id in found if user_id is not None}


def _candidate(line: int, user_id: UUID, vector: Reals, payload: Mapping[str, Any]) -> Candidate:
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in OPTIONAL:
        try:
            values[name] = CHECKS[name](payload.get(name))
        except BadRow as bad:
            values[name] = CHECKS[name](None)
            problems[name] = bad.reason
    return Candidate(line, Content(user_id, vector, **values), payload, problems)


def _user_id(point_id: UUID | int, payload: Mapping[str, Any]) -> UUID:
    """Return the user of the point. Raise BadRow if the id is a number, or if the payload names another user."""
    named = payload.get("user_id")
    if isinstance(point_id, int):
        more = "" if named is None else f". Its user_id is {truncated_repr(named)}"
        raise BadRow(Kind.BAD_USER_ID, f"the id of the point is the number {point_id}, and a user's id is a UUID{more}")
    if named is not None and (not isinstance(named, str) or uuid_of(named) != point_id):
        raise BadRow(Kind.BAD_USER_ID, f"the id of the point is {str(point_id)!r}, and its user_id is {truncated_repr(named)}")
    return point_id


def _refuse_vector(vector: Reals, length: int) -> NoReturn:
    """Raise BadRow for an invalid vector, which Qdrant sent with ``length`` numbers."""
    if length == 0:
        raise BadRow(Kind.BAD_VECTOR, "the point has no vector")
    if length != VECTOR_SIZE:
        raise BadRow(Kind.BAD_VECTOR, f"vector has {length:,} numbers, and must have {VECTOR_SIZE}")
    try:
        vectors.vector(vector)
    except ValueError as error:
        raise BadRow(Kind.BAD_VECTOR, f"vector {error}") from None
    raise AssertionError("unreachable: the vector is invalid")


def _original(point_id: UUID | int, vector: Reals, length: int, payload: Mapping[str, Any]) -> Callable[[], dict[str, object]]:
    """Return a function for the row of the rejects file, in the form that ``upsert_embeddings`` reads."""

    def row() -> dict[str, object]:
        fields: dict[str, object] = {"user_id": point_id if isinstance(point_id, int) else str(point_id)}
        if length == VECTOR_SIZE:
            # The shortest decimal number for each 32-bit number.
            fields["vector"] = [float(str(number)) for number in vector]
        fields |= {name: payload[name] for name in OPTIONAL if payload.get(name) is not None}
        return {name: plain_json(value) for name, value in fields.items()}

    return row
