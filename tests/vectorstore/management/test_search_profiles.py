"""The command ``search_profiles``: its output, and one line for every search that is not possible."""

from __future__ import annotations

import json
import re
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import free_port
from tests.support.commands import manage
from vectorstore.models import ProfileEmbedding
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users

ANY_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


@pytest.fixture
def three_users() -> list[User]:
    """Create Anne, Ben and Carla.

    Ben's vector is closer to Anne's than Carla's is. Ben lives in the south.
    """
    users = []
    for number, fields in enumerate(({"email": "Anne@example.com"}, {"gender": "male"}, {"gender": "female"})):
        user = UserFactory.create(full_name=f"Name {number}", date_of_birth=date(1990, 1, 1), **fields)
        location = {"lat": -33.92, "lon": 18.42} if number == 1 else {"lat": 52.5, "lon": 13.4}
        vector = [1.0, number / 4, *[0.0] * 510]
        ProfileEmbeddingFactory.create(user=user, vector=vector, location=location, interests=[f"interest {number}"])
        users.append(user)
    sync_users([user.pk for user in users])
    return users


def output_of(*arguments: object) -> str:
    out = StringIO()
    call_command("search_profiles", *map(str, arguments), stdout=out)
    return out.getvalue()


def ids(*arguments: object) -> list[UUID]:
    return [UUID(hit["user_id"]) for hit in json.loads(output_of(*arguments, "--json"))]


def error_of(*arguments: object) -> str:
    with pytest.raises(CommandError) as raised:
        output_of(*arguments)
    assert raised.value.returncode == 2 or "Error:" in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.django_db
def test_search_profiles__json__is_one_array_without_other_personal_data(collection: str, three_users: list[User]) -> None:
    anne, ben, carla = three_users
    out = output_of("--user", anne.pk, "--json")
    hits = json.loads(out)
    assert [set(hit) for hit in hits] == [{"user_id", "score"}] * 2
    assert [hit["user_id"] for hit in hits] == [str(ben.pk), str(carla.pk)]
    assert hits[0]["score"] > hits[1]["score"] > 0.8
    assert set(ANY_UUID.findall(out)) == {str(ben.pk), str(carla.pk)}
    assert "@" not in out and "Name" not in out


@pytest.mark.django_db
def test_search_profiles__prints_a_table(collection: str, three_users: list[User]) -> None:
    anne, ben, carla = three_users
    age = str(ben.age)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output_of("--user", anne.pk).splitlines()]
    assert lines[0] == ["", "Score", "Age", "Gender", "Id"]
    assert lines[2:] == [["1", "0.9701", age, "male", str(ben.pk)], ["2", "0.8944", age, "female", str(carla.pk)]]


@pytest.mark.django_db
def test_search_profiles__criteria__restrict_the_users(collection: str, three_users: list[User]) -> None:
    anne, ben, carla = three_users
    assert ids("--user", anne.pk, "--gender", "female") == [carla.pk]
    assert ids("--user", anne.pk, "--gender", "female", "--gender", "male") == [ben.pk, carla.pk]
    assert ids("--user", anne.pk, "--near", "-33.9,18.4,20") == [ben.pk]
    assert ids("--user", anne.pk, "--interest", "interest 2", "--interest", "chess") == [carla.pk]
    assert ids("--user", anne.pk, "--limit", 1) == [ben.pk]
    assert ids("--user", anne.pk, "--min-age", ben.age, "--max-age", ben.age) == [ben.pk, carla.pk]
    assert ids("--user", anne.pk, "--min-age", ben.age + 1) == []
    assert ids("--user", anne.pk, "--required-interest", "interest 1") == [ben.pk]
    assert ids("--user", anne.pk, "--required-interest", "interest 1", "--required-interest", "interest 2") == []
    assert ids("--user", anne.pk, "--exclude", ben.pk) == [carla.pk]
    assert ids("--user", anne.pk, "--exclude", ben.pk, "--exclude", carla.email) == []
    assert ids("--user", anne.pk, "--min-score", 0.95) == [ben.pk]
    assert ids("--user", anne.pk, "--min-score", -0.5, "--offset", 1) == [carla.pk]


@pytest.mark.django_db
def test_search_profiles__after__prints_the_next_page(collection: str, three_users: list[User]) -> None:
    anne, ben, carla = three_users
    *_, last = output_of("--user", anne.pk, "--limit", 1).splitlines()
    text, _, place = last.rpartition(" ")
    assert (text, place.endswith(f":{ben.pk}")) == ("Next page: --after", True)
    (hit,) = json.loads(output_of("--user", anne.pk, "--limit", 1, "--json"))
    assert place == f"{hit['score']}:{hit['user_id']}"
    assert ids("--user", anne.pk, "--after", place) == [carla.pk]
    assert output_of("--user", anne.pk, "--offset", 1).splitlines()[-1].startswith("| 2 |")


@pytest.mark.django_db
def test_search_profiles__no_match__prints_no_users(collection: str, three_users: list[User]) -> None:
    assert output_of("--user", three_users[0].pk, "--gender", "other") == "No users found.\n"
    assert json.loads(output_of("--user", three_users[0].pk, "--gender", "other", "--json")) == []


@pytest.mark.django_db
def test_search_profiles__by_email_or_vector_file__finds_users(collection: str, three_users: list[User], tmp_path: Path) -> None:
    anne, ben, carla = three_users
    assert ids("--user", "ANNE@Example.com") == [ben.pk, carla.pk]
    vector = ProfileEmbedding.objects.get(pk=carla.pk).vector
    (tmp_path / "vector.json").write_text(json.dumps(vector))
    np.save(tmp_path / "vector.npy", np.array([vector]))
    for name in ("vector.json", "vector.npy"):
        assert ids("--vector", tmp_path / name) == [carla.pk, ben.pk, anne.pk]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", UUID(int=1)], f"PostgreSQL has no user with the id '{UUID(int=1)}'."),
        (["--user", "anne"], "'anne' is neither a UUID nor an e-mail address. Pass one of them."),
        (["--user", UUID(int=1), "--limit", "0"], "The limit is 0. It must be at least 1."),
        (["--user", UUID(int=1), "--min-age", "31", "--max-age", "30"], "The minimum age 31 is greater than the maximum age 30."),
        (["--user", UUID(int=1), "--offset", "-1"], "The offset is -1. It must be 0 or more."),
        (["--user", UUID(int=1), "--min-score", "2"], "The minimum score is 2.0. A score is the cosine of two vectors, from -1 to 1."),
        (["--user", UUID(int=1), "--after", "x"], "'x' is not SCORE:ID, the score and id of the last user of the previous page."),
        (["--user", UUID(int=1), "--exclude", "ben"], "'ben' is neither a UUID nor an e-mail address. Pass one of them."),
        (["--user", UUID(int=1), "--near", "91,0,1"], "The center of the search area is invalid: lat is 91.0, and must be from -90 to 90."),
        (["--user", UUID(int=1), "--near", "Berlin"], "'Berlin' is not LAT,LON,KM. Example: 52.52,13.405,25."),
        (
            ["--user", UUID(int=1), "--interest", " "],
            "The interests are invalid: an interest must be a text that is not empty, not ' '.",
        ),
        (
            ["--user", UUID(int=1), "--interest", ""],
            "Error: argument --interest: '' is not a value. Give a value or leave out the option",
        ),
        (["--vector", "/nonexistent/vector.npy"], "'/nonexistent/vector.npy' cannot be read: No such file or directory."),
        ([], "Error: one of the arguments --user --vector is required"),
        (["--user", "x", "--vector", "y"], "Error: argument --vector: not allowed with argument --user"),
        (["--user", "x", "--limit", "many"], "Error: argument --limit: invalid int value: 'many'"),
        (
            ["--user", "x", "--gender", "woman"],
            "Error: argument --gender: invalid choice: 'woman' (choose from 'male', 'female', 'other')",
        ),
    ],
)
def test_search_profiles__invalid_arguments__fail(arguments: list[Any], message: str) -> None:
    assert error_of(*arguments) == message


@pytest.mark.django_db
def test_search_profiles__user_without_embedding_or_deleted__fails() -> None:
    user, deleted = UserFactory.create(), UserFactory.create(deleted=True)
    assert error_of("--user", user.email) == f"The user '{user.pk}' has no embedding yet. Load one with manage.py upsert_embeddings FILE."
    assert error_of("--user", deleted.pk) == f"The user '{deleted.pk}' is deleted. Search for another user."


@pytest.mark.django_db
def test_search_profiles__unavailable_server__fails(settings: Settings) -> None:
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    user = ProfileEmbeddingFactory.create().user
    assert error_of("--user", user.pk).startswith(f"Nothing answers at QDRANT_URL '{settings.QDRANT_URL}'")


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_search_profiles__own_process__prints_json(embedded_qdrant: Path, request: pytest.FixtureRequest) -> None:
    initialize()
    anne, ben, _ = request.getfixturevalue("three_users")
    code, out, err = manage("search_profiles", "--user", anne.email, "--near", "-33.9,18.4,20", "--json")
    assert (code, [hit["user_id"] for hit in json.loads(out)], err) == (0, [str(ben.pk)], "")
