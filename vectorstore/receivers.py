"""The point follows what the admin changes: right after the commit, like the commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from accounts.signals import users_changed


@receiver(users_changed)
def sync_changed_users(user_ids: Iterable[UUID], **_signal: Any) -> None:
    """Raises StoreUnavailable or UserFacingError where the point could not be written.

    Qdrant's client takes most of a second to import, and this module is part of every command: it is imported where it is used.
    """
    from vectorstore.sync.inline import sync_users

    sync_users(user_ids)
