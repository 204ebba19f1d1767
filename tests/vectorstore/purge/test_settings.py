from typing import Any, cast

import pytest
from django.db import connection
from qdrant_client import QdrantClient

from vectorstore.models import StoreState
from vectorstore.purge import settings
from vectorstore.sync.patience import IDLE_SECONDS


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
    monkeypatch.setattr(settings, "_read", lambda _client, _collection: dict.fromkeys(settings.THOROUGH, 1))
    monkeypatch.setattr(settings, "_set", lambda _client, _collection, _settings: None)
    settings.change(client, "people_v1", settings.THOROUGH)
    assert settings.noted() == {"people_v1": dict.fromkeys(settings.THOROUGH, 1)}
    assert found == [f"{IDLE_SECONDS}s"]
