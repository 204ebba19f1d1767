"""A database and a vector store of the benchmark's own, which are gone afterwards: nobody's rows are read or written."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django
from django.conf import settings
from django.db import connection

from findme.environment import default_to_debug


@contextmanager
def scratch_database() -> Iterator[None]:
    """An empty, migrated database on the server of DATABASE_URL, or on the embedded one, under a random name."""
    name = f"findme_benchmark_{secrets.token_hex(4)}"
    configured = settings.DATABASES["default"]["NAME"]
    connection.settings_dict["TEST"]["NAME"] = name
    with warnings.catch_warnings(
        category=RuntimeWarning, action="ignore"
    ):  # that the database "postgres" cannot be reached: the error says it
        connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(configured, verbosity=0)


@contextmanager
def scratch_store() -> Iterator[str]:
    """A collection of a random name on the server at QDRANT_URL, or in an embedded store in a temporary folder; yields what it is."""
    from vectorstore.schema.initialize import initialize

    settings.QDRANT_COLLECTION = f"findme_benchmark_{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="findme-benchmark-") as folder:
        if not settings.QDRANT_URL:
            settings.QDRANT_PATH = f"{folder}/qdrant"
        try:
            initialize()
            yield _kind()
        finally:
            _drop_collections()


def size(on_server: int, embedded: int) -> int:
    """How much to measure by default: the embedded store takes about 500 points a second."""
    return on_server if os.environ.get("QDRANT_URL") else embedded


def timed(work: Callable[[], object]) -> float:
    """The seconds that WORK takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def start() -> None:
    """Set Django up, with the defaults of ``manage.py``. Call it before any model is imported."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    default_to_debug()
    django.setup()


def _kind() -> str:
    if not settings.QDRANT_URL:
        return "embedded store"
    return f"server at {settings.QDRANT_URL} by {'gRPC' if settings.QDRANT_GRPC_PORT else 'REST'}"


def _drop_collections() -> None:
    """A collection takes its aliases with it."""
    from vectorstore.qdrant.connection import qdrant

    with qdrant() as client:
        for collection in client.get_collections().collections:
            if collection.name.startswith(settings.QDRANT_COLLECTION):
                client.delete_collection(collection.name)
