"""A database and a collection for one benchmark. Both are deleted afterwards, and no other data are read or written."""

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
    """Create a migrated database with a random name, on the server of DATABASE_URL or on the embedded one."""
    name = f"findme_benchmark_{secrets.token_hex(4)}"
    configured = settings.DATABASES["default"]["NAME"]
    connection.settings_dict["TEST"]["NAME"] = name
    # Django warns if the database "postgres" is unavailable. The error that follows says so too.
    with warnings.catch_warnings(category=RuntimeWarning, action="ignore"):
        connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(configured, verbosity=0)


@contextmanager
def empty_database(template: str = "template1") -> Iterator[str]:
    """Create a database without tables, or a copy of ``template``, and connect Django to it. Yield its name."""
    name, before = f"findme_benchmark_{secrets.token_hex(4)}", connection.settings_dict["NAME"]
    connection.close()
    # Django warns if the database "postgres" is unavailable. The error that follows says so too.
    with warnings.catch_warnings(category=RuntimeWarning, action="ignore"), connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    connection.settings_dict["NAME"] = name
    try:
        yield name
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def scratch_store() -> Iterator[str]:
    """Create a collection with a random name, on the server at QDRANT_URL or in a temporary folder. Yield the kind of store."""
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
    """Return the default size. The embedded store writes only about 500 points a second."""
    return on_server if os.environ.get("QDRANT_URL") else embedded


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def start() -> None:
    """Set up Django with the defaults of ``manage.py``. Call this before any model is imported."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "findme.settings")
    default_to_debug()
    django.setup()


def _kind() -> str:
    if not settings.QDRANT_URL:
        return "embedded store"
    return f"server at {settings.QDRANT_URL} by {'gRPC' if settings.QDRANT_GRPC_PORT else 'REST'}"


def _drop_collections() -> None:
    """Delete the collections. Qdrant deletes their aliases too."""
    from vectorstore.qdrant.connection import qdrant

    with qdrant() as client:
        for collection in client.get_collections().collections:
            if collection.name.startswith(settings.QDRANT_COLLECTION):
                client.delete_collection(collection.name)
