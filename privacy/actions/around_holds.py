"""Erase or anonymize a user around held data (GDPR, article 17 (3)), and complete the action when the holds end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from uuid import UUID

from privacy.actions.held_rows import count_held_rows, delete_rows_without_hold, files_of_rows
from privacy.actions.holds import active_holds, describe, holds_by_user
from privacy.actions.outcome import Outcome
from privacy.actions.recording import COVERED
from privacy.actions.stores import remove_from_stores
from privacy.audit import Action, record
from privacy.audit import Outcome as Recorded
from privacy.declarations import Disposition
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import locate
from privacy.ledger.entry import Kind
from privacy.models import Hold, PendingAction
from privacy.registry import Effect, PersonalDataOwner, registry


def effects_of_erasure(user_id: UUID) -> list[Effect]:
    """Return what an erasure does in PostgreSQL, with what stays under a hold."""
    holds = active_holds(user_id)
    effects = [effect for owner in registry.owners for effect in _split(owner, owner.after_erasure(user_id), user_id, holds)]
    if holds:
        effects.append(Effect("rows of users, without the data of the user", 1, Disposition.HELD))
    return effects


def effects_of_anonymization(user_id: UUID) -> list[Effect]:
    holds = active_holds(user_id)
    return [effect for owner in registry.owners for effect in _split(owner, owner.after_anonymization(user_id), user_id, holds)]


def erase_all_but_held(user_id: UUID, *, actor_id: UUID | None) -> Outcome:
    """Erase all data of the user that no hold keeps, in the transaction of the caller, who has locked the user's row.

    The row stays without the data of the user, because held rows refer to it. The action stays pending until the holds end.
    """
    is_new = not PendingAction.objects.filter(user_id=user_id, kind=Kind.ERASE, is_held=True).exists()
    effects = effects_of_erasure(user_id)
    for owner in registry.owners:
        owner.erase(user_id)
    delete_rows_without_hold(user_id)
    for owner in registry.owners:
        owner.clear_kept_row(user_id)
    wait_for_holds(Kind.ERASE, user_id)
    record(Action.ERASE, user_id, Recorded.STARTED if is_new else Recorded.UNCHANGED, actor_id=actor_id)
    return Outcome(user_id, changed=is_new, effects=(*effects, *remove_from_stores(user_id)))


def wait_for_holds(kind: Kind, user_id: UUID) -> None:
    """Replace the pending actions that ``kind`` completes with one that waits for the end of the holds."""
    PendingAction.objects.filter(user_id=user_id, kind__in=COVERED[kind]).delete()
    PendingAction.objects.create(user_id=user_id, kind=kind, is_held=True)


def ended_actions(most: int, skip: Collection[UUID] = ()) -> list[PendingAction]:
    """Return the oldest actions whose holds have ended, without those of the users in ``skip``."""
    waiting = list(PendingAction.objects.filter(is_held=True).order_by("pk"))
    held = holds_by_user({action.user_id for action in waiting}) if waiting else {}
    return [action for action in waiting if action.user_id not in held and action.user_id not in skip][:most]


def _split(owner: PersonalDataOwner, effects: Iterable[Effect], user_id: UUID, holds: list[Hold]) -> list[Effect]:
    """Divide the first effect that removes data, and those that remove files, into what is removed and what is held."""
    count = count_held_rows(owner, user_id) if holds else 0
    of_section = [hold for hold in holds if hold.section == owner.section]
    if not count and not of_section:
        return list(effects)
    reason = "; ".join(map(describe, of_section or holds))
    files = sum(not isinstance(locate(address), Elsewhere) for address in files_of_rows(owner, user_id, is_held=True))
    result: list[Effect] = []
    for effect in effects:
        if files and effect.disposition is Disposition.DELETED and owner.erasure_steps.get(effect.what) == "files":
            result += _divided(effect, files, f"{effect.what} ({reason})")
        elif effect.disposition in (Disposition.DELETED, Disposition.CLEARED) and not any(
            one.disposition is Disposition.HELD for one in result
        ):
            result += _divided(effect, count, f"{owner.section} ({reason})")
        else:
            result.append(effect)
    return result


def _divided(effect: Effect, held: int, what: str) -> list[Effect]:
    return [replace(effect, count=(effect.count or 0) - held), Effect(what, held, Disposition.HELD)]
