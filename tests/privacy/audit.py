"""Read the audit log."""

from __future__ import annotations

from uuid import UUID

from privacy.models import AuditEntry


def audited() -> list[tuple[str, UUID | str, UUID | str, str]]:
    """Return the entries in order: action, actor, target and outcome."""
    return [
        (entry.action, entry.actor_id or entry.actor_account, entry.target_id or entry.collection, entry.outcome)
        for entry in AuditEntry.objects.order_by("pk")
    ]
