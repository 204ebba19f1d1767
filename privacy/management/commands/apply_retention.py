"""``apply_retention``: delete personal data after its retention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from findme.core.commands.running import note_counts
from findme.core.plurals import counted
from privacy.registry import registry
from privacy.retention.apply import RuleResult, apply, preview
from privacy.retention_policy import Policy, approve, current_policy


@dataclass(frozen=True, slots=True)
class Expired:
    """Deleted rows of one owner of personal data, older than ``retention_days``."""

    section: str
    deleted: int
    retention_days: int


@dataclass(frozen=True, slots=True)
class Applied:
    """``sections`` always apply. ``rules`` are those of ``RETENTION_RULES``, which need the approval of their ``version``."""

    dry_run: bool
    deleted: int
    sections: list[Expired]
    rules: list[RuleResult]
    version: str
    approved: bool


class Command(FindmeCommand):
    help = "Delete personal data after its retention: login records, the audit log, and what the rules of RETENTION_RULES take. Run it once a day."
    after_interrupt = "Deleted rows stay deleted: run this again for the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="only say what would be deleted; this needs no approval")
        how.add_argument("--approve", metavar="VERSION", help="approve this version of the rules, and delete nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, dry_run: bool, approve: str | None, json: bool, **options: Any) -> None:
        policy = current_policy()
        if approve is not None:
            self._approve(policy, approve)
            return
        sections = [
            Expired(owner.section, owner.count_expired() if dry_run else owner.delete_expired(), owner.retention.days)
            for owner in registry.owners
            if owner.retention is not None
        ]
        if not json:
            self._print_sections(sections, dry_run=dry_run)
        approved = policy.is_approved()
        rules = list(self._rules(policy, dry_run=dry_run, quiet=json)) if dry_run or approved else []
        applied = Applied(dry_run, sum(one.deleted for one in sections), sections, rules, policy.version, approved)
        note_counts(applied)
        if json:
            self.print_json(applied)
        elif dry_run and not approved:
            self.print_line(
                f"Version {policy.version} of the rules is not approved. Run manage.py apply_retention --approve {policy.version}."
            )
        if not dry_run:
            policy.require_approved()
        if any(one.waiting for one in rules):
            self.exit_with_findings()

    def _approve(self, policy: Policy, version: str) -> None:
        is_new = approve(policy, version)
        self.print_line(f"Version {policy.version} of the rules {'is approved' if is_new else 'was approved already'}.")

    def _print_sections(self, sections: list[Expired], *, dry_run: bool) -> None:
        done = "would be deleted" if dry_run else "deleted"
        for one in sections:
            self.print_line(f"{one.section}: {counted(one.deleted, 'row')} older than {one.retention_days} days {done}.")

    def _rules(self, policy: Policy, *, dry_run: bool, quiet: bool) -> Iterator[RuleResult]:
        """Apply or preview the rules, and print each one as soon as it is done."""
        for one in preview(policy) if dry_run else apply(policy):
            done = f"would be {one.disposition}" if dry_run else one.disposition
            if not quiet:
                self.print_line(f"{one.name}: {one.count} {one.what} {done}, {one.days} days after {one.since}.")
                if one.waiting:
                    self.print_line(f"{one.name}: {counted(one.waiting, 'user')} must wait. manage.py process_requests completes them.")
            yield one
