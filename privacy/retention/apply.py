"""Apply approved rules of retention. Each rule can be killed at any moment and applied again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from findme.core.db.expressions import IsAmong
from findme.core.postgresql.arrays import uuid_array
from privacy.actions.erase_many import another_process, erase_many
from privacy.actions.holds import holds_by_user
from privacy.actions.pending import process_pending
from privacy.actions.stores import batches_of_removals
from privacy.ledger.entry import Kind
from privacy.ledger.publication import LOCK_SECONDS
from privacy.models import DataSubjectRequest, ErasedUser, Hold, PendingAction
from privacy.retention_policy import Policy
from privacy.retention_rules import BATCH_SIZE, AppliedRule, RetentionRule, UserRule, time_before

IDS = 10_000
"""Users that one query finds."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule did, or would do. ``waiting`` users could not be erased yet: ``process_requests`` completes them."""

    name: str
    what: str
    since: str
    days: int
    count: int
    disposition: str
    waiting: int = 0


def preview(policy: Policy) -> Iterator[RuleResult]:
    earlier: list[QuerySet[Any]] = []
    for rule, days in policy.in_turn:
        if isinstance(rule, UserRule):
            yield _result(rule, days, _count(rule, days, earlier))
            earlier.append(_erasable(rule, days))
        else:
            yield _result(rule, days, rule.count(days))


def apply(policy: Policy) -> Iterator[RuleResult]:
    """Apply each rule, and yield its result.

    Raise UserFacingError if the rules are not approved, and as ``record_entries`` does before a user is erased.
    """
    policy.require_approved()
    for rule, days in policy.in_turn:
        if isinstance(rule, UserRule):
            erased, waiting = _erase(rule, days, policy.digest)
            yield _result(rule, days, erased, len(waiting))
        elif isinstance(rule, AppliedRule):
            yield _result(rule, days, rule.apply(days))


def _result(rule: RetentionRule, days: int, count: int, waiting: int = 0) -> RuleResult:
    disposition = "erased" if isinstance(rule, UserRule) else str(rule.disposition)
    return RuleResult(rule.name, rule.what, rule.since, days, count, disposition, waiting)


def _erase(rule: UserRule, days: int, approval: bytes) -> tuple[int, dict[UUID, str]]:
    """Erase the users of a rule in batches. First complete what a killed process has begun. A user who must wait does not keep the others.

    Raise UserFacingError if another process completes actions all the time: its users would be missing in the counts.
    """
    begun = process_pending(wait_seconds=LOCK_SECONDS)
    if begun.is_busy:
        raise another_process()
    erased, waiting = 0, dict(begun.waiting)
    with batches_of_removals():
        for batch in _batches(rule, days):
            held = holds_by_user(batch)
            result = erase_many([user_id for user_id in batch if user_id not in held], approval)
            erased += result.erased
            waiting.update(result.waiting)
            if result.waiting and not result.erased:
                break  # a store is unavailable: each further batch would wait as long
    return erased, waiting


def _batches(rule: UserRule, days: int) -> Iterator[list[UUID]]:
    """Yield the users to erase, in the order of their ids. A user that a batch leaves is not tried again.

    A rule reads the whole table, so one query finds the users of several batches. Before each batch, only its users are checked again.
    """
    users = _erasable(rule, days).order_by("pk")
    found = list(users.values_list("pk", flat=True)[:IDS])
    while found:
        for begin in range(0, len(found), BATCH_SIZE):
            still = _erasable(rule, days).filter(IsAmong("pk", uuid_array(found[begin : begin + BATCH_SIZE])))
            yield list(still.values_list("pk", flat=True))
        found = list(users.filter(pk__gt=found[-1]).values_list("pk", flat=True)[:IDS])


def _count(rule: UserRule, days: int, earlier: Iterable[QuerySet[Any]]) -> int:
    """Return the number of users that the rule erases after the rules that erase the users ``earlier``."""
    users = _erasable(rule, days)
    for taken in earlier:
        users = users.exclude(pk__in=taken.values("pk"))
    if not Hold.objects.active().exists():
        return users.count()
    user_ids = list(users.values_list("pk", flat=True))
    return len(user_ids) - len(holds_by_user(user_ids))


def _erasable(rule: UserRule, days: int) -> QuerySet[Any]:
    """Return the users of a rule who are no staff, have no open request, and are not restricted, anonymized or about to be erased.

    Users with a hold are left out later: also the held rows of another user can keep a user's row.
    """
    about = {"user_id": OuterRef("pk")}
    return rule.expired(time_before(days)).filter(
        ~Exists(PendingAction.objects.filter(kind=Kind.ERASE, **about)),
        ~Exists(DataSubjectRequest.objects.filter(closed_on__isnull=True, **about)),
        ~Exists(ErasedUser.objects.filter(**about)),
        restricted_at=None,
        is_staff=False,
        is_superuser=False,
    )
