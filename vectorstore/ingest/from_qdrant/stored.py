"""What PostgreSQL has about the users of a page: the user, the embedding, and the digests of the last import."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np

from findme.core.postgresql.arrays import uuid_array
from vectorstore.ingest.from_qdrant.digests import Base, digest
from vectorstore.models.interests import distinct
from vectorstore.projection.rows import HEADER, read
from vectorstore.projection.vectors import ELEMENT, Reals

USERS = """
    SELECT given.id, users.id IS NOT NULL, users.deleted_at IS NOT NULL, users.objected_at IS NOT NULL,
    EXISTS (SELECT FROM erased_users WHERE erased_users.user_id = given.id), users.is_staff,
    users.gender, users.active, users.verified,
    CASE WHEN date_of_birth BETWEEN '0001-01-01' AND '9999-12-31' THEN date_of_birth END, (clock_timestamp() AT TIME ZONE 'UTC')::date
    FROM unnest(%s::uuid[]) AS given(id)
    LEFT JOIN users ON users.id = given.id AND users.id <> '00000000-0000-0000-0000-000000000000'
"""

# Rows are locked in the order of their ids, as everywhere, so no two transactions deadlock. A session that deletes, erases or anonymizes one of these
# users waits for the page, or the page waits for it and then sees the result.
LOCK = "SELECT id FROM users WHERE id = ANY(%s::uuid[]) ORDER BY id FOR SHARE"

EMBEDDINGS = """
    SELECT user_id, array_send(vector), location::text, interests, array_send(video_features)
    FROM profile_embeddings WHERE user_id = ANY(%s::uuid[]) ORDER BY user_id
"""
LOCK_EMBEDDINGS = f"{EMBEDDINGS} FOR NO KEY UPDATE"

DIGESTS = "SELECT user_id, import_id, point, stored FROM vector_import_digests WHERE user_id = ANY(%s::uuid[])"


@dataclass(frozen=True, slots=True)
class UserState:
    """A user. ``today`` is the day of the database's clock, in UTC.

    A restricted user (article 18) is as any other one here: an import only stores what would be lost with the point.
    """

    is_known: bool
    is_deleted: bool
    is_objecting: bool
    is_erased: bool
    is_staff: bool
    gender: str | None
    active: bool | None
    verified: bool | None
    date_of_birth: date | None
    today: date


def may_be_copied(owners: Collection[UserState]) -> bool:
    """Return whether the data of a point may get into another file, if they may be those of ``owners``.

    The guide's DELETE leaves the point of a user who wants to be forgotten. So the data of unknown users are not copied either, unless a known user
    is named too, or no user at all.
    """
    if any(owner.is_deleted or owner.is_objecting or owner.is_erased for owner in owners):
        return False
    return not owners or any(owner.is_known for owner in owners)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A row of ``profile_embeddings``. ``interests`` are as stored."""

    vector: Reals
    location: tuple[float, float] | None
    interests: tuple[str, ...]
    video_features: Reals | None

    @property
    def digest(self) -> int:
        return digest(self.vector, self.location, self.interests, self.video_features)

    @property
    def compared_interests(self) -> tuple[str, ...]:
        """Return the interests in the form of a point."""
        return tuple(interest for interest in distinct(self.interests) if interest)


def users_among(ids: Collection[UUID]) -> dict[UUID, UserState]:
    """Return the users with these ids, also the unknown ones."""
    return {row[0]: UserState(*row[1:]) for row in read(USERS, (uuid_array(ids),))}


def locked_users(ids: Collection[UUID]) -> dict[UUID, UserState]:
    """Lock the users until the transaction ends, and return them."""
    read(LOCK, (uuid_array(ids),))
    return users_among(ids)


def embeddings(ids: Collection[UUID], *, lock: bool = False) -> dict[UUID, Embedding]:
    """Return the existing embeddings of the users. With ``lock``, they are locked until the transaction ends."""
    return {row[0]: _embedding(row) for row in read(LOCK_EMBEDDINGS if lock else EMBEDDINGS, (uuid_array(ids),))}


def bases(ids: Collection[UUID], import_id: int | None) -> dict[UUID, Base]:
    """Return the digests that the import ``import_id`` (None: any import) has stored for these users."""
    found = read(DIGESTS, (uuid_array(ids),))
    return {user_id: Base(point, stored) for user_id, by, point, stored in found if import_id is None or by == import_id}


def _embedding(row: tuple[Any, ...]) -> Embedding:
    _, vector, location, interests, video_features = row
    return Embedding(
        _reals(vector),
        None if location is None else _location(location),
        tuple(interests),
        None if video_features is None else _reals(video_features),
    )


def _location(text: str) -> tuple[float, float]:
    """Return latitude and longitude. A constraint makes sure that there is nothing else."""
    found = json.loads(text)
    return float(found["lat"]), float(found["lon"])


def _reals(sent: bytes) -> Reals:
    """Return the numbers of a ``real[]`` in PostgreSQL's binary format. An empty array has a shorter header."""
    return np.frombuffer(sent, ELEMENT, offset=HEADER)["number"].astype(np.float32) if len(sent) > HEADER else np.empty(0, np.float32)
