"""What the switch of a restore does in Qdrant."""

from __future__ import annotations

from django.db import connection
from qdrant_client.models import DeleteAlias, DeleteAliasOperation

from backups.restoring.fit import register_collections
from findme.core.errors import UserFacingError
from privacy.actions.replay import replay
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.publication import LedgerBehind
from vectorstore.catalog.alias import alias_target, point_alias
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.retention.drop import DROP_SECONDS


class SwitchedQdrant:
    """Implements ``backups.restoring.switch.QdrantActions``."""

    def move_alias(self, alias: str, *, before: str | None, after: str | None) -> None:
        _require_same(alias)
        with qdrant() as client:
            if alias_target(client) != before:
                return
            if after is not None:
                point_alias(client, after)
            elif before is not None:
                client.update_collection_aliases([DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=alias))])

    def drop_collection(self, name: str) -> None:
        with qdrant() as client:
            targets = {alias.collection_name for alias in client.get_aliases().aliases}
            if name not in targets and client.collection_exists(name):
                client.delete_collection(name, timeout=DROP_SECONDS)

    def complete(self) -> None:
        register_collections(compared=True)
        _repeat_latest_erasures()


class UnchangedQdrant(SwitchedQdrant):
    """For a restore of PostgreSQL only, into a database that has no collection."""

    def complete(self) -> None:
        """Do nothing."""


def _repeat_latest_erasures() -> None:
    """Repeat the erasures that the old database made after the restored one had read the ledger outside. No search is served before."""
    connection.close()
    try:
        compare_with_outside()
    except LedgerBehind:
        for user_id, reason in replay().waiting.items():
            raise UserFacingError(f"{user_id} was erased during the restore, and is not erased again yet: {reason}") from None


def _require_same(alias: str) -> None:
    if alias != collection_name():
        raise UserFacingError(
            f"The restore that was interrupted is one of {alias!r}. Set QDRANT_COLLECTION to it, then run the command again."
        )
