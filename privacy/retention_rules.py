"""Rules of retention that an owner offers and an operator switches on. ``manage.py apply_retention`` applies them.

A rule takes the rows that are older than a number of days. None is on by default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from privacy.declarations import Category, Disposition

BATCH_SIZE = 1000
"""Rows of one transaction."""


@dataclass(frozen=True, kw_only=True)
class RetentionRule(ABC):
    """A rule by its name. ``what`` and ``since`` are phrases: "matches", "their creation".

    Increase ``revision`` with each change of what the rule takes or does, so that it must be approved again. ``least_days`` is the shortest retention.
    The rows of the rules ``needs_rows_of`` show whether this rule takes a row, so they must stay as long.

    Rules are applied in the order of ``turn``. A rule comes before each rule that changes what it takes. So a preview counts what is deleted then.
    """

    name: str
    what: str
    since: str
    category: Category
    disposition: Disposition = Disposition.DELETED
    revision: int = 1
    least_days: int = 1
    turn: int = 1
    needs_rows_of: tuple[str, ...] = ()

    @abstractmethod
    def count(self, days: int) -> int:
        """Return how many rows are older than ``days``."""


class AppliedRule(RetentionRule):
    """A rule that changes its rows itself."""

    @abstractmethod
    def apply(self, days: int) -> int:
        """Change the rows that are older than ``days``, and return their number."""


@dataclass(frozen=True, kw_only=True)
class RowRule(AppliedRule):
    """``expired`` returns the rows before a time. ``change`` deletes or clears them, so that they are not found again.

    ``prepare`` deletes what the rows lead to outside PostgreSQL, before ``change``. If the process is killed in between, both run again.
    """

    expired: Callable[[datetime], QuerySet[Any]]
    prepare: Callable[[QuerySet[Any]], object] | None = None
    change: Callable[[QuerySet[Any]], object] = lambda rows: rows.delete()
    batch_size: int = BATCH_SIZE

    def count(self, days: int) -> int:
        return self.expired(time_before(days)).count()

    def apply(self, days: int) -> int:
        """Change the rows in batches, and return their number. A row that another transaction has locked is skipped."""
        changed = 0
        while True:
            with transaction.atomic():
                before = time_before(days)
                rows = self.expired(before)
                keys = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[: self.batch_size])
                if not keys:
                    return changed
                # Before the lock, another transaction may have added a row that keeps one of these, such as the call of a match.
                still = list(self.expired(before).filter(pk__in=keys).values_list("pk", flat=True))
                locked = rows.model._default_manager.filter(pk__in=still)
                if self.prepare is not None:
                    self.prepare(locked)
                self.change(locked)
            changed += len(still)


@dataclass(frozen=True, kw_only=True)
class UserRule(RetentionRule):
    """``expired`` returns the users before a time. They are erased in the same way as by ``erase_user --hard``."""

    expired: Callable[[datetime], QuerySet[Any]]
    turn: int = 3

    def count(self, days: int) -> int:
        return self.expired(time_before(days)).count()


def of_restricted_users(*users: str) -> Q:
    """Return the condition for rows of a user whose data may only be stored (GDPR, article 18). ``users`` are the fields that refer to users."""
    condition = Q()
    for field in users:
        condition |= Q(**{f"{field}__restricted_at__isnull": False})
    return condition


def time_before(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)
