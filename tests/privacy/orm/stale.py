"""Stale objects that a program has read earlier, and the outcome when it writes them."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from django.apps import apps
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import Model, Q
from psycopg import errors

from accounts.models import User
from calls.models import VideoCall
from findme.core.db.violations import is_of_erased_user
from matching.models import Match
from privacy.registry import Protection, registry
from tests.privacy.orm.ways import Calls, Objects, Way
from vectorstore.models import ImportDigest, ProfileEmbedding
from videos.models import Video

PROTECTED: dict[type[Model], Protection] = {
    apps.get_model(label): protection for owner in registry.owners for label, protection in owner.protection.items()
}
"""Models whose rows belong to users, with the declarations of their owners. New models are included."""


ONE_PER_USER = (ProfileEmbedding, ImportDigest)
"""Models whose key is the user. An anonymization deletes the row."""


def users_of(one: Model) -> set[UUID]:
    """Return the ids of the users that the row refers to."""
    return {getattr(one, one._meta.get_field(name).attname) for name in PROTECTED[type(one)].users}  # type: ignore[union-attr]  # columns


def read(model: type[Model], user_ids: Collection[UUID]) -> list[Any]:
    """Return the rows of these users, each with the objects that its foreign keys name."""
    parents = [field.name for field in model._meta.concrete_fields if field.is_relation]
    is_theirs = Q()
    for name in PROTECTED[model].users:
        is_theirs |= Q(**{f"{name}__in": user_ids})
    return list(model._base_manager.filter(is_theirs).select_related(*parents).order_by("pk"))


def again(one: Any) -> Any:
    """Return a copy with the same key, which ``save`` inserts."""
    copied = copy.copy(one)
    copied._state.adding = True
    return copied


def twin(one: Any) -> Any:
    """Return a copy that is inserted as another row of the same users. A copy of a user is another user.

    A row of ``ONE_PER_USER`` has no key of its own. The copy of a match is dated after the erasure, because an older match is no new data of the user.
    """
    copied = again(one)
    match copied:
        case User():
            copied.pk = uuid4()
            copied.email, copied.full_name, copied.bio, copied.password = f"{copied.pk}@twin.example", "A Twin", "Another user.", ""
            copied.video_id = None
        case Match():
            copied.pk, copied.year, copied.week_number = uuid4(), 2000 + secrets.randbelow(7000), 1 + secrets.randbelow(52)
            copied.created_at = datetime.now(UTC)
        case VideoCall():
            copied.pk, copied.session_id = uuid4(), f"twin-{secrets.token_hex(8)}"
        case Video():
            copied.pk = uuid4()
        case ProfileEmbedding() | ImportDigest():
            pass
        case _:
            raise AssertionError(f"what is another row of {type(one).__name__}?")
    return copied


class Outcome(StrEnum):
    """Outcome of a write."""

    PASSED = "passed"
    REFUSED = "refused: erased user"
    NO_ROW = "no such row"
    EXISTS = "there is such a row"
    NO_USER = "no such user"
    DISTURBED = "serialization failure or deadlock"


NO_ROW_ENDINGS = ("did not affect any rows.", "nothing was saved. Reload the user.")
"""Ends of the errors of a save that finds no row, or a user who was erased."""


def outcome_of(error: DatabaseError) -> Outcome:
    """Return the outcome for this error. Raise the error if a stale object is not its reason."""
    cause = error.__cause__
    if isinstance(error, IntegrityError):
        if is_of_erased_user(error):
            assert isinstance(cause, errors.CheckViolation)
            assert cause.diag.constraint_name == f"{cause.diag.table_name}_erased_user_check"
            return Outcome.REFUSED
        if isinstance(cause, errors.UniqueViolation):
            return Outcome.EXISTS
        if isinstance(cause, errors.ForeignKeyViolation):
            return Outcome.NO_USER
    if isinstance(error, OperationalError) and isinstance(cause, errors.SerializationFailure | errors.DeadlockDetected):
        return Outcome.DISTURBED
    if type(error) is DatabaseError and cause is None and str(error).endswith(NO_ROW_ENDINGS):
        return Outcome.NO_ROW
    raise error


def user_named(error: BaseException) -> UUID:
    """Return the id in the error message."""
    return UUID(str(error).partition("User ")[2][:36])


def attempt(way: Way, call: Calls, objects: Objects, isolation: str = "READ COMMITTED") -> tuple[Outcome, UUID | None]:
    """Write the objects in a transaction. Return the outcome, and the user whose data were refused."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            rows = way.write(call, objects)
    except DatabaseError as error:
        outcome = outcome_of(error)
        return outcome, user_named(error) if outcome == Outcome.REFUSED else None
    return Outcome.NO_ROW if rows == 0 else Outcome.PASSED, None
