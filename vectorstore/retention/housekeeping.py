"""Periodic maintenance by an idle worker: reconcile the registry with the alias, and drop expired collections."""

from __future__ import annotations

import time
from dataclasses import dataclass

from findme.core.errors import UserFacingError
from vectorstore.catalog.alias import reconcile_alias_if_stale
from vectorstore.qdrant.connection import qdrant
from vectorstore.retention.drop import drop_expired

EVERY_SECONDS, AFTER_FAILURE_SECONDS = 60.0, 600.0


@dataclass
class Housekeeping:
    """The maintenance of one worker, with the time when it is due again."""

    due_at: float = float("-inf")

    def run(self) -> tuple[str, ...]:
        """Run the maintenance at most once a minute, and return the names of dropped collections.

        If Qdrant cannot do it (a node of the cluster is down), the next attempt is ten minutes later. No point depends on it.
        """
        if time.monotonic() < self.due_at:
            return ()
        self.due_at = time.monotonic() + AFTER_FAILURE_SECONDS
        try:
            with qdrant() as client:
                reconcile_alias_if_stale(client)
            dropped = drop_expired()
        except UserFacingError:
            return ()
        self.due_at = time.monotonic() + EVERY_SECONDS
        return dropped
