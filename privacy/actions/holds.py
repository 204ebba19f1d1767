"""Hold data of a user (GDPR, article 17 (3)), and release it. An erasure leaves held rows, and is completed when the hold ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from findme.core.db.clock import database_clock
from findme.core.db.dates import LAST_DATE
from findme.core.errors import UserFacingError
from privacy.actions.held_rows import user_fields_of
from privacy.actions.locking import locked_user
from privacy.audit import Action, actor_columns, record, record_failure_of
from privacy.models import Hold
from privacy.models.holds import Article, Section
from privacy.users import unknown_user


@dataclass(frozen=True, slots=True)
class Held:
    """A hold, as the commands print it."""

    id: int
    user_id: UUID
    section: str
    ground: str
    until: date | None
    released_at: datetime | None

    @classmethod
    def of(cls, hold: Hold) -> Self:
        return cls(hold.pk, hold.user_id, hold.section, hold.article, hold.until, hold.released_at)


def hold(user_id: UUID, section: Section, article: Article, *, until: date | None = None, actor_id: UUID | None = None) -> Hold:
    """Hold one section of the user's data until the end of the day ``until``, or until it is released.

    Raise UserFacingError for a user that is unknown or locked by another transaction, and for a day in the past.
    """
    with record_failure_of(Action.HOLD, user_id, actor_id=actor_id), locked_user(user_id) as user:
        if user is None:
            raise unknown_user(user_id)
        held = Hold(user_id=user_id, section=section, article=article, until=until)
        set_hold(held, actor_id=actor_id)
        return held


def set_hold(held: Hold, *, actor_id: UUID | None) -> None:
    """Insert the hold and its audit entry in the current transaction. Raise UserFacingError for a day in the past, or one that no column takes."""
    if held.until is not None and held.until > LAST_DATE:
        raise UserFacingError(
            f"{held.until} is after {LAST_DATE}, the last possible day: nothing was changed. Set an earlier day, or none."
        )
    for name, value in actor_columns(actor_id, "set_by").items():
        setattr(held, name, value)
    held.save(force_insert=True)
    if not Hold.objects.active().filter(pk=held.pk).exists():
        raise UserFacingError(f"{held.until} is in the past: nothing was changed. Set a later day, or none.")
    record(Action.HOLD, held.user_id, actor_id=actor_id)


def release(hold_id: int, *, actor_id: UUID | None = None) -> Hold:
    """End the hold. ``process_pending`` then completes what it kept. Raise UserFacingError if the hold is unknown or has ended."""
    with transaction.atomic():
        held = Hold.objects.select_for_update().filter(pk=hold_id).first()
        if held is None:
            raise UserFacingError(f"There is no hold {hold_id}: nothing was changed. See the list of holds in the admin.")
        if not Hold.objects.active().filter(pk=hold_id).exists():
            raise UserFacingError(f"The hold {hold_id} has ended: nothing was changed.")
        held.released_at = database_clock()
        for name, value in actor_columns(actor_id, "released_by").items():
            setattr(held, name, value)
        held.save(update_fields=["released_at", "released_by_id", "released_by_account"])
        record(Action.RELEASE_HOLD, held.user_id, actor_id=actor_id)
        return held


def describe(hold: Hold) -> str:
    """Return the hold, its ground and its end, such as ``hold 5, article 17 (3) (e), until 2027-01-31``."""
    until = "until it is released" if hold.until is None else f"until {hold.until}"
    return f"hold {hold.pk}, article 17 (3) ({hold.article[-1]}), {until}"


def active_holds(user_id: UUID) -> list[Hold]:
    """Return the holds that keep the user's row: those of the user, and those of other users whose held rows refer to the user."""
    return holds_by_user([user_id]).get(user_id, [])


def holds_by_user(user_ids: Collection[UUID]) -> dict[UUID, list[Hold]]:
    """Return the active holds that keep the row of each user, as ``active_holds`` does. Users without one are left out."""
    active = {held.pk: held for held in Hold.objects.active().order_by("pk")}
    wanted = set(user_ids)
    found = {(held.user_id, held.pk) for held in active.values() if held.user_id in wanted}
    for section in {held.section for held in active.values()}:
        holders: dict[UUID, list[int]] = {}
        for held in active.values():
            if held.section == section:
                holders.setdefault(held.user_id, []).append(held.pk)
        for model, fields in user_fields_of(section):
            for one in fields:
                for other in (name for name in fields if name != one):
                    rows = model._base_manager.filter(Q(**{f"{one}__in": wanted, f"{other}__in": holders}))
                    found |= {(user_id, pk) for user_id, holder in rows.values_list(one, other).distinct() for pk in holders[holder]}
    result: dict[UUID, list[Hold]] = {}
    for user_id, pk in sorted(found, key=lambda pair: pair[1]):
        result.setdefault(user_id, []).append(active[pk])
    return result
