"""Erasures while stale objects and old copies are written, without Qdrant: no user and no data exist again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from privacy.registry import registry
from tests.privacy.shelf import Shelf
from tests.privacy.storm.storm import Erasures
from tests.support.database import Database, database, use_database

SECONDS = 2.0


@pytest.mark.at_length
@pytest.mark.long
def test_storm__of_erasures(
    template: Database,
    django_db_blocker: DjangoDbBlocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    shelf = Shelf()
    monkeypatch.setattr(registry, "_stores", {shelf.name: shelf})
    with django_db_blocker.unblock(), database(template.name) as made, use_database(made):
        environment = {"DATABASE_URL": made.url(), "DJANGO_SETTINGS_MODULE": "tests.settings", "QDRANT_URL": ""}
        erasures = Erasures(made, 1, [], environment, tmp_path)
        erasures.loader.options = ["--queue-only"]
        erasures.start()
        time.sleep(SECONDS)
        erasures.stop()
        assert erasures.findings() == []
    record_property("storm", erasures.report())
