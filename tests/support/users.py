"""Create users with an embedding, and with a point."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.factories import ProfileEmbeddingFactory
from tests.schema.rows import settle
from vectorstore.sync.inline import sync_users


def create_users(count: int, **fields: Any) -> list[UUID]:
    """Create users with an embedding, who are in the queue. Return their ids in order."""
    return sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(count, **fields))


def create_synced_users(count: int, **fields: Any) -> list[UUID]:
    """Create users with an embedding and a point. Return their ids in order."""
    user_ids = create_users(count, **fields)
    sync_users(user_ids)
    settle()
    return user_ids
