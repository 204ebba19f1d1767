"""The rules that are switched on by ``RETENTION_RULES``. Their version must be approved once before they delete anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from django.conf import settings
from django.db import transaction

from findme.core.errors import UserFacingError
from privacy.audit import Action, record_policy
from privacy.models import RetentionApproval
from privacy.registry import registry
from privacy.retention_rules import RetentionRule

LEDGER = "ledger"
"""The rule that deletes entries of the ledger. An entry stays as long as a backup can have the user."""
VERSION_LENGTH = 12
"""Characters of a version in output and on the command line."""


@dataclass(frozen=True)
class Policy:
    """Rules with their numbers of days, in the order of their names."""

    rules: tuple[tuple[RetentionRule, int], ...]

    @property
    def in_turn(self) -> list[tuple[RetentionRule, int]]:
        """Return the rules in the order in which they are applied."""
        return sorted(self.rules, key=lambda rule: rule[0].turn)

    @cached_property
    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical JSON of the rules. Every change of a rule changes it."""
        import rfc8785  # imported late, because every command imports this module

        return sha256(rfc8785.dumps([{"days": days, "name": rule.name, "revision": rule.revision} for rule, days in self.rules])).digest()

    @property
    def version(self) -> str:
        return self.digest.hex()[:VERSION_LENGTH] if self.rules else ""

    def is_approved(self) -> bool:
        return not self.rules or RetentionApproval.objects.filter(digest=self.digest).exists()

    def require_approved(self) -> None:
        """Raise UserFacingError if the rules have not been approved in this version."""
        if not self.is_approved():
            raise UserFacingError(
                f"Version {self.version} of the rules in RETENTION_RULES is not approved: they deleted nothing. Review it with"
                f" manage.py apply_retention --dry-run, then run manage.py apply_retention --approve {self.version}."
            )


def current_policy() -> Policy:
    """Return the rules of ``RETENTION_RULES``. Raise UserFacingError for an unknown rule, for too few days, or for rules that exclude each other."""
    known = {rule.name: rule for owner in registry.owners for rule in owner.retention_rules}
    found: list[tuple[RetentionRule, int]] = []
    for name, days in sorted(settings.RETENTION_RULES.items()):
        if name not in known:
            raise UserFacingError(f"RETENTION_RULES has {name!r}: nothing was changed. The rules are {', '.join(sorted(known))}.")
        rule = known[name]
        least_days = max(rule.least_days, settings.BACKUP_RETENTION_DAYS if rule.name == LEDGER else 0)
        if days < least_days:
            raise UserFacingError(f"RETENTION_RULES has {name}={days}: nothing was changed. This rule needs at least {least_days} days.")
        for needed in rule.needs_rows_of:
            if settings.RETENTION_RULES.get(needed, days) < days:
                raise UserFacingError(
                    f"RETENTION_RULES has {needed}={settings.RETENTION_RULES[needed]} and {name}={days}: nothing was changed. The {needed} show"
                    f" which users are active, so keep them for at least {days} days."
                )
        found.append((rule, days))
    return Policy(tuple(found))


def approve(policy: Policy, version: str) -> bool:
    """Approve the rules, and return whether they were not approved before. Raise UserFacingError if ``version`` is not theirs."""
    if not policy.rules:
        raise UserFacingError("No rule is switched on: nothing was approved. Set RETENTION_RULES, then review it with --dry-run.")
    if version != policy.version:
        raise UserFacingError(
            f"{version!r} is not the version of the current rules: nothing was approved. Review version {policy.version} with --dry-run first."
        )
    with transaction.atomic():
        _, is_new = RetentionApproval.objects.get_or_create(digest=policy.digest)
        if is_new:
            record_policy(Action.APPROVE_RETENTION)
    return is_new
