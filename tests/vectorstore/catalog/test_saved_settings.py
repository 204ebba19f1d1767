from typing import Any, cast

import pytest
from django.db import connection
from qdrant_client import QdrantClient

from vectorstore.catalog import saved_settings
from vectorstore.models import StoreState
from vectorstore.purge.vacuum import FULL_VACUUM
from vectorstore.queue.transactions import IDLE_SECONDS


@pytest.mark.django_db(transaction=True)
def test_change_settings__a_frozen_process_blocks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that freezes while it saves the settings loses its lock. Every worker reads that row."""
    timeouts: list[str] = []
    save = StoreState.save

    def save_and_record_timeout(state: StoreState, *arguments: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            timeouts.append(cursor.fetchone()[0])
        save(state, *arguments, **options)

    StoreState.current()
    client = cast("QdrantClient", None)
    monkeypatch.setattr(StoreState, "save", save_and_record_timeout)
    monkeypatch.setattr(saved_settings, "_read", lambda _client, _collection: dict.fromkeys(FULL_VACUUM, 1))
    monkeypatch.setattr(saved_settings, "_set", lambda _client, _collection, _settings: None)
    saved_settings.change_settings(client, "users_v1", FULL_VACUUM)
    assert saved_settings.saved_settings() == {"users_v1": {name: {"before": 1, "during": value} for name, value in FULL_VACUUM.items()}}
    assert timeouts == [f"{IDLE_SECONDS}s"]
