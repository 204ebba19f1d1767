"""The migration guide's Go code, compiled: the tests that build the guide's installation without ``go`` do the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient

from tests.findme.migrator.catalog import catalog
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.database import Database, database
from tests.support.guide.go_programs import GoPrograms, go_programs
from tests.support.guide.points import COLLECTION, Point, create_collection, insert, points_of
from tests.support.guide.rows import add_rows
from tests.support.guide.schema import FOLDER, create_guide_tables, write_migrations
from tests.support.memory import folder_in_memory

__all__ = ["go_programs"]

pytestmark = [pytest.mark.at_length, pytest.mark.no_cover]


@pytest.fixture
def guide_server() -> Iterator[QdrantServer]:
    """A server of its own, because the guide's program knows only the name ``profile_embeddings``."""
    with folder_in_memory() as folder, started_qdrant(folder) as server:
        yield server


def for_go(made: Database) -> str:
    """Return the database's address for lib/pq, which does not try TLS only if it is said."""
    return f"{made.url()}&sslmode=disable"


def test_golang_migrate__creates_the_tables_of_the_tests(go_programs: GoPrograms, empty: Database, tmp_path: Path) -> None:
    create_guide_tables(empty)
    with database() as migrated:
        write_migrations(migrated, tmp_path)
        go_programs.run("migrate", "-path", FOLDER, "-database", for_go(migrated), "up", cwd=tmp_path)
        assert catalog(migrated) == catalog(empty)
        assert rows_of_versions(migrated) == rows_of_versions(empty) == [(4, False)]
    assert go_programs.run("migrate", "-path", FOLDER, "-database", for_go(empty), "version", cwd=tmp_path).strip() == "4"


def test_run_migrations__creates_the_tables_of_the_tests(go_programs: GoPrograms, empty: Database, tmp_path: Path) -> None:
    create_guide_tables(empty)
    with database() as migrated:
        write_migrations(migrated, tmp_path)
        go_programs.run("guide", "migrate", cwd=tmp_path, DATABASE_URL=for_go(migrated))
        assert catalog(migrated) == catalog(empty)


def rows_of_versions(made: Database) -> list[tuple[Any, ...]]:
    with made.connect() as session:
        return session.execute("SELECT version, dirty FROM schema_migrations").fetchall()


@pytest.mark.qdrant_server
def test_init_and_insert__make_the_points_of_the_tests(go_programs: GoPrograms, empty: Database, guide_server: QdrantServer) -> None:
    create_guide_tables(empty)
    with empty.connect() as session:
        points = points_of(session, add_rows(session, 12))
    port = str(guide_server.grpc_port)
    go_programs.run("guide", "init", QDRANT_GRPC_PORT=port)
    assert go_programs.run("guide", "insert", stdin=lines(points), QDRANT_GRPC_PORT=port).split() == [
        str(point.user_id) for point in points
    ]
    by_go = contents(guide_server)
    client = QdrantClient(url=guide_server.url, check_compatibility=False)
    client.delete_collection(COLLECTION)
    create_collection(client)
    insert(client, points)
    assert contents(guide_server) == by_go
    client.close()


def contents(server: QdrantServer) -> tuple[Any, Any, list[Any]]:
    """Return the settings, the payload indexes and the points of the collection."""
    with httpx.Client(base_url=server.url) as http:
        described = http.get(f"/collections/{COLLECTION}").json()["result"]
        asked = {"limit": 1000, "with_payload": True, "with_vector": True}
        points = http.post(f"/collections/{COLLECTION}/points/scroll", json=asked).json()["result"]["points"]
    return described["config"], {name: index["data_type"] for name, index in described["payload_schema"].items()}, points


@pytest.mark.qdrant_server
def test_search_similar_profiles__finds_active_and_verified_users(
    go_programs: GoPrograms, empty: Database, guide_server: QdrantServer
) -> None:
    create_guide_tables(empty)
    with empty.connect() as session:
        points = points_of(session, add_rows(session, 12))
    client = QdrantClient(url=guide_server.url, check_compatibility=False)
    create_collection(client)
    insert(client, points)
    client.close()
    wanted = [str(point.user_id) for point in points if point.payload["active"] and point.payload["verified"]]
    asked = {"vector": points[1].embedding, "filters": {}, "limit": 100}
    [found] = go_programs.run("guide", "search", stdin=json.dumps(asked), QDRANT_GRPC_PORT=str(guide_server.grpc_port)).splitlines()
    assert sorted(found.split()) == sorted(wanted)
    assert found.split()[0] == str(points[1].user_id)


def lines(points: list[Point]) -> str:
    return "\n".join(json.dumps(point.as_json()) for point in points)
