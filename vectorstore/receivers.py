"""Signal receivers: update the points of users right after the admin has committed a change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from accounts.signals import users_changed


@receiver(users_changed)
def sync_changed_users(user_ids: Iterable[UUID], **_signal: Any) -> None:
    """Update the points of the changed users. Raises StoreUnavailable or UserFacingError if a point could not be written."""
    # qdrant-client takes most of a second to import, and every command imports this module.
    from vectorstore.sync.inline import sync_users

    sync_users(user_ids)
