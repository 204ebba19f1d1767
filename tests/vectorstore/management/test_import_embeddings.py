"""``import_embeddings``: its output, its JSON and its exit codes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from qdrant_client import models

from tests.factories import UserFactory
from tests.qdrant import QdrantServer
from tests.support.commands import manage
from tests.vectorstore.ingest.from_qdrant.guide_points import create, guide, point, stored, vector, write
from vectorstore.ingest.from_qdrant import results
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant

QUEUED = "The users of the written rows are queued for the workers of manage.py sync_qdrant.\n"


def run(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process. Return exit code, stdout and stderr."""
    out, err = StringIO(), StringIO()
    try:
        call_command("import_embeddings", *map(str, arguments), stdout=out, stderr=err)
    except SystemExit as exited:
        return int(str(exited.code)), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}\n"
    return 0, out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_import_embeddings__clean__exits_0(embedded_qdrant: Path) -> None:
    users = UserFactory.create_batch(2)
    create(point(user, seed) for seed, user in enumerate(users))
    read = "2 points read: 2 imported, 0 updated, 0 unchanged, 0 in conflict, 0 rejected."
    printed = f"Collection '{guide()}'.\n{read}\n0 users have no point in the collection.\n"
    assert run("--from-collection", guide(), "--model", "guide-1") == (0, f"{printed}{QUEUED}", "")
    assert {row.model for row in stored().values()} == {"guide-1"}
    assert run("--from-collection", guide()) == (0, printed.replace("2 imported, 0 updated, 0 un", "0 imported, 0 updated, 2 un"), "")


@pytest.mark.qdrant_server
@pytest.mark.django_db
def test_import_embeddings__cosine_distance_on_a_server__is_said(qdrant_server: QdrantServer) -> None:
    create([point(UserFactory.create())])
    said = "The collection uses cosine distance, so its vectors have length 1, whatever was written to it."
    assert said in run("--from-collection", guide())[1].splitlines()


@pytest.mark.django_db
def test_import_embeddings__findings__are_named_with_exit_code_1(embedded_qdrant: Path, tmp_path: Path) -> None:
    """A conflict, a rejected point, an invalid field and another gender."""
    first, second, third = sorted(UserFactory.create_batch(3, gender="female"), key=lambda user: user.pk)
    create([point(first), point(second, gender="male"), models.PointStruct(id=7, vector=vector(7), payload={})])
    alias = f"{guide()}_alias"
    with qdrant() as client:
        client.update_collection_aliases(
            [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=guide(), alias_name=alias))]
        )
    run("--from-collection", guide())
    ProfileEmbedding.objects.filter(pk=first.pk).update(interests=["sea"])
    write([point(first, 2), point(third, 3, location="Berlin")])
    code, printed, findings = run("--from-collection", alias, "--rejects", tmp_path / "rejects")
    assert (code, printed) == (
        1,
        (
            f"Collection '{guide()}', to which the alias '{alias}' points.\n"
            "4 points read: 1 imported, 0 updated, 1 unchanged, 1 in conflict, 1 rejected.\n"
            "  1 bad user_id\n"
            "  1 conflict\n"
            "1 point imported without location: the value is not valid.\n"
            "1 point with another gender than in users. PostgreSQL decides, and nothing was changed.\n"
            f"0 users have no point in the collection.\n{QUEUED}"
        ),
    )
    assert findings.splitlines() == [
        f"{guide()}: point 1: the id of the point is the number 7, and a user's id is a UUID",
        f"{guide()}: point 2: '{first.pk}': the row in profile_embeddings and the point differ, and the row is not that of the last import",
        f"{guide()}: point 4: '{third.pk}': location was left out: location is not an object with lat and lon: 'Berlin'",
    ]
    assert len((tmp_path / "rejects").read_text().splitlines()) == 3
    code, printed, _ = run("--from-collection", guide(), "--on-conflict", "replace")
    assert "1 conflict decided for the point, because of --on-conflict replace.\n" in printed and code == 1


@pytest.mark.django_db
def test_import_embeddings__many_findings__are_shown_in_part(
    embedded_qdrant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SHOWN_FINDINGS", 2)
    create(models.PointStruct(id=number, vector=vector(7), payload={}) for number in range(4))
    lines = run("--from-collection", guide(), "--dry-run")[2].splitlines()
    assert (len(lines), lines[-1]) == (3, "There are more. --rejects FILE stores all of them.")
    lines = run("--from-collection", guide(), "--dry-run", "--rejects", tmp_path / "rejects")[2].splitlines()
    assert lines[-1] == f"There are more. All of them: {tmp_path / 'rejects'}."


@pytest.mark.django_db
def test_import_embeddings__json__has_all_counts(embedded_qdrant: Path) -> None:
    user = UserFactory.create()
    create([point(user)])
    code, printed, errors = run("--from-collection", guide(), "--json", "--limit-rate", 1000, "--dry-run")
    found: dict[str, Any] = json.loads(printed)
    assert (code, errors) == (0, "")
    assert found["imported"] == found["read"] == 1
    assert (found["collection"], found["dry_run"], found["normalized"], found["users_without_point"]) == (guide(), True, False, 0)
    assert not stored()


@pytest.mark.no_cover
@pytest.mark.django_db(transaction=True)
def test_import_embeddings__no_collection__is_one_line_with_exit_code_2(embedded_qdrant: Path) -> None:
    code, printed, errors = manage("import_embeddings", "--from-collection", "guide")
    assert (code, printed) == (2, "")
    assert errors == "The embedded vector store has no collection 'guide': nothing was done. It has none.\n"
