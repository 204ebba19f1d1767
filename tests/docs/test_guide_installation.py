"""The installation of the migration guide that the tests build, and its services: a lost row and a lost vector are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from tests.support.database import Database
from tests.support.guide.installation import Installation, install
from tests.support.guide.services import Service, differences, services
from tests.support.waiting import wait_until


@pytest.fixture
def installation(empty: Database, memory_path: Path) -> Iterator[Installation]:
    client = QdrantClient(path=str(memory_path))
    yield install(empty, client, users=20)
    client.close()


def test_install__deleted_users_have_points(installation: Installation) -> None:
    rows, with_points = installation.rows, installation.vectors.keys()
    assert {len(rows.softly_deleted), len(rows.anonymized), len(rows.hard_deleted)} == {2}
    assert {*rows.softly_deleted, *rows.anonymized, *rows.hard_deleted} <= with_points
    assert len(rows.users) == len(with_points & set(rows.users)) + 2


def test_changed_rows__finds_them(installation: Installation) -> None:
    assert installation.changed_rows() == set()
    changed, gone = installation.rows.users[4:6]
    with installation.database.connect() as session:
        session.execute("UPDATE users SET bio = 'x' WHERE id = %s", [changed])
        session.execute("DELETE FROM users WHERE id = %s", [gone])
    assert installation.changed_rows() > {("users", changed), ("users", gone)}


def test_lost_embeddings__finds_them(installation: Installation) -> None:
    first, second, *_ = points = [point for point in installation.points if point.user_id in installation.rows.users]
    with installation.database.connect() as session:
        session.execute(
            "CREATE TABLE profile_embeddings (user_id uuid, vector real[], location jsonb, interests text[], video_features real[])"
        )
        for point in points[1:]:
            found = point.payload
            session.execute(
                "INSERT INTO profile_embeddings VALUES (%s, %s, jsonb_build_object('lat', %s::float8, 'lon', %s::float8), %s, %s)",
                [point.user_id, point.embedding, *found["location"].values(), found["interests"], found["video_features"]],
            )
        session.execute("UPDATE profile_embeddings SET vector[1] = vector[1] + 0.00001 WHERE user_id = %s", [second.user_id])
    assert set(installation.lost_embeddings()) == {str(first.user_id), str(second.user_id)}


def test_services__rows_are_as_they_were_written(installation: Installation) -> None:
    with services(installation.database, 1) as reports:
        wait_until(
            lambda: installation.database.query("SELECT count(*) FROM users WHERE email LIKE 'service%'")[0] > 3, "Users of the service"
        )
    [report] = reports
    assert (report.errors, report.writes > 3, report.longest_seconds < 60) == ([], True, True)
    with installation.database.connect() as session:
        assert differences(session, report) == []
        session.execute("UPDATE users SET full_name = 'Another' WHERE email LIKE 'service%'")
        assert differences(session, report) != []
    assert installation.changed_rows() == set()


def test_services__an_error_is_reported(empty: Database) -> None:
    """The tables do not exist."""
    with empty.connect() as session:
        service = Service(session, seed=0)
        for _ in range(50):  # some of them change rows of the service, which has none
            service.write()
    assert "42P01" in service.report.errors[0]
