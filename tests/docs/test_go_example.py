"""The Go example of the page for users of the migration guide: it is compiled from the page, and runs at both stores."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from pytest_django import Settings

from accounts.models import User
from tests.docs.pages import blocks, page
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.database import Database
from tests.support.guide.go_programs import MODULE, GoPrograms, go_programs
from tests.support.guide.points import COLLECTION
from tests.support.memory import folder_in_memory
from tests.support.vectors import CITIES
from vectorstore.models import ProfileEmbedding
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once

__all__ = ["go_programs"]

PAGE = page("from-the-guide.md")
BERLIN = dict(zip(("lat", "lon"), CITIES[0], strict=True))


@pytest.fixture(scope="module")
def example(go_programs: GoPrograms) -> GoPrograms:
    """The programs, with the page's example as ``example``."""
    [source] = blocks(PAGE, "go")
    go_programs.build("example", source)
    assert go_programs.vet("example") == ""
    return go_programs


@pytest.fixture
def server(migrated: Database, settings: Settings) -> Iterator[QdrantServer]:
    """A server with the collection of a migrated database, under the name of the page."""
    with folder_in_memory() as folder, started_qdrant(folder, SERVICE__API_KEY="secret") as started:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_COLLECTION = started.url, started.api_key, COLLECTION
        initialize()
        yield started


def test_example__names_the_packages_that_the_tests_use() -> None:
    [commands] = blocks(PAGE, "text")
    named = [word.replace("/qdrant@", "@") for word in commands.split() if "@v" in word]
    required = [line.strip().replace(" ", "@") for line in (MODULE / "go.mod").read_text().splitlines()]
    assert named == [one for one in required if one.startswith(("github.com/lib/pq@", "github.com/qdrant/go-client@"))]
    assert len(named) == 2


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.qdrant_server
def test_example__writes_to_postgresql_and_searches_the_alias(example: GoPrograms, migrated: Database, server: QdrantServer) -> None:
    ProfileEmbeddingFactory.create(user=UserFactory.create(gender="female"), location=BERLIN)
    near, inactive = (
        ProfileEmbeddingFactory.create(
            user=UserFactory.create(gender="male", date_of_birth="1990-05-05", active=active), location=BERLIN
        ).user_id
        for active in (True, False)
    )
    sync_once()

    new, found = run(example, migrated, server, "jane@example.com")

    assert found == [near]
    assert inactive not in found
    jane = User.objects.get(email="jane@example.com")
    stored = ProfileEmbedding.objects.get(user=jane)
    assert (jane.pk, stored.vector[0], stored.location, stored.interests) == (new, 1.0, BERLIN, ["books"])
    assert sync_once().written == 1  # the trigger has queued her


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.qdrant_server
def test_example__a_point_that_is_out_of_date__is_not_shown(example: GoPrograms, migrated: Database, server: QdrantServer) -> None:
    user = UserFactory.create(gender="male", date_of_birth="1990-05-05")
    ProfileEmbeddingFactory.create(user=user, location=BERLIN)
    sync_once()
    User.objects.filter(pk=user.pk).update(active=False)
    assert run(example, migrated, server, "jane@example.com")[1] == []


def run(programs: GoPrograms, database: Database, server: QdrantServer, email: str) -> tuple[UUID, list[UUID]]:
    """Run the example. Return the id of the user that it adds, and those that it finds."""
    printed = programs.run(
        "example",
        email,
        DATABASE_URL=f"{database.url()}&sslmode=disable",
        QDRANT_HOST="127.0.0.1",
        QDRANT_GRPC_PORT=str(server.grpc_port),
        QDRANT_API_KEY=server.api_key,
    )
    new, found = printed.splitlines()[0].split(" ", 1)
    return UUID(new), [UUID(one) for one in found.strip("[]").split()]
