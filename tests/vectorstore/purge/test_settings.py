from typing import Any, cast

import pytest
from django.db import connection
from qdrant_client import QdrantClient

from vectorstore.models import StoreState
from vectorstore.purge import saved_settings
from vectorstore.queue.transactions import IDLE_SECONDS


@pytest.mark.django_db(transaction=True)
def test_change__somebody_who_is_frozen_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of noting what is to be put back: every worker reads that row."""
    found: list[str] = []
    save = StoreState.save

    def and_look(state: StoreState, *arguments: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            found.append(cursor.fetchone()[0])
        save(state, *arguments, **options)

    StoreState.current()
    client = cast("QdrantClient", None)
    monkeypatch.setattr(StoreState, "save", and_look)
    monkeypatch.setattr(saved_settings, "_read", lambda _client, _collection: dict.fromkeys(saved_settings.THOROUGH, 1))
    monkeypatch.setattr(saved_settings, "_set", lambda _client, _collection, _settings: None)
    saved_settings.change(client, "people_v1", saved_settings.THOROUGH)
    assert saved_settings.noted() == {"people_v1": dict.fromkeys(saved_settings.THOROUGH, 1)}
    assert found == [f"{IDLE_SECONDS}s"]
