"""The fixtures of the demo equal the output of their program, and violate no constraint."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.hashers import is_password_usable
from django.core.management import call_command
from django.db import connection, models

from accounts.models import User
from calls.models import VideoCall
from findme.environment import BASE_DIR
from matching.models import Match
from privacy.actions.undo_erasure import undo_erasures
from privacy.models import ErasedUser
from videos.models import Video

FIXTURES = BASE_DIR / "fixtures"
FILES = ("demo.json", "demo_embeddings.parquet")
MODELS: list[type[models.Model]] = [User, Video, Match, VideoCall]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return list(json.loads((FIXTURES / "demo.json").read_text(encoding="utf-8")))


@pytest.fixture
def loaded(db: None) -> None:
    call_command("loaddata", "demo", verbosity=0)


def fields_of(rows: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    return [row["fields"] for row in rows if row["model"] == model]


@pytest.mark.at_length
def test_fixtures__built_again__have_equal_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "fixtures.build_demo", tmp_path], cwd=BASE_DIR, check=True)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (FIXTURES / name).read_bytes(), f"{name}: run python -m fixtures.build_demo"


@pytest.mark.parametrize("name", FILES)
def test_fixtures__are_small(name: str) -> None:
    assert (FIXTURES / name).stat().st_size < 1_500_000


def test_demo__has_john_and_jane_of_the_guide(rows: list[dict[str, Any]]) -> None:
    guide = {
        "john@example.com": ("John Doe", "1995-06-15", "male", "Adventure seeker and coffee lover", True, True, None),
        "jane@example.com": ("Jane Smith", "1993-03-20", "female", "Book worm and travel enthusiast", True, True, None),
    }
    columns = ("full_name", "date_of_birth", "gender", "bio", "verified", "active", "deleted_at")

    reported = {user["email"]: tuple(user[column] for column in columns) for user in fields_of(rows, "accounts.user")}
    assert {email: reported[email] for email in guide} == guide


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.at_length)])
def test_demo__violates_no_constraint_of_the_database_or_of_the_models(loaded: None, step: int) -> None:
    """The database checked each row when it was written. The test calls ``full_clean()`` for the rows too.

    It does so for every row, or every tenth in ``make test``. Constraints of the models need a query each, so they are checked for every tenth row.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for model in MODELS:
        for number, instance in enumerate(model._base_manager.order_by("pk")):
            if number % step == 0:
                instance.full_clean(validate_unique=number % 10 == 0, validate_constraints=number % 10 == 0)


@pytest.mark.at_length
@pytest.mark.no_cover
def test_demo__loaded_again__restores_changed_rows(loaded: None) -> None:
    before = {model: model._base_manager.count() for model in MODELS}
    john = User.objects.filter(email="john@example.com")
    john_id = john.get().pk
    john.update(email=f"deleted_{john_id}@findme.ai", full_name="Deleted User", bio=None, password="", deleted_at="2026-01-15T00:00Z")
    User.objects.filter(email="jane@example.com").delete()

    with pytest.raises(SystemExit) as ended:
        call_command("loaddata", "demo", verbosity=0)
    assert ended.value.code == 1
    assert not User.objects.filter(email="jane@example.com").exists()
    assert User.objects.get(pk=john_id).full_name == "Deleted User"

    undo_erasures(list(ErasedUser.objects.values_list("pk", flat=True)))
    call_command("loaddata", "demo", verbosity=0)
    assert {model: model._base_manager.count() for model in MODELS} == before
    assert User.objects.alive().get(pk=john_id).full_name == "John Doe"


def test_demo__no_user_is_staff_or_can_log_in(rows: list[dict[str, Any]]) -> None:
    users = fields_of(rows, "accounts.user")

    assert not [user for user in users if user.get("is_staff") or user.get("is_superuser")]
    assert not [user for user in users if is_password_usable(user["password"])]


def test_demo__every_address_ends_in_example_com(rows: list[dict[str, Any]]) -> None:
    assert all(user["email"].endswith("@example.com") for user in fields_of(rows, "accounts.user"))
    addresses = [url for video in fields_of(rows, "videos.video") for url in (video["storage_url"], video["thumbnail_url"]) if url]
    addresses += [call["recording_url"] for call in fields_of(rows, "calls.videocall") if call["recording_url"]]
    assert all(url.startswith("https://cdn.example.com/") for url in addresses)


@pytest.mark.parametrize("key", ["full_name", "bio", "email"])
def test_demo__names_bios_and_addresses_are_unique(rows: list[dict[str, Any]], key: str) -> None:
    counts = Counter(user[key] for user in fields_of(rows, "accounts.user"))

    assert max(counts.values()) == 1


@pytest.mark.parametrize(
    ("model", "states"),
    [("videos.video", Video.Status.values), ("matching.match", Match.Status.values), ("calls.videocall", VideoCall.Status.values)],
)
def test_demo__has_every_state(rows: list[dict[str, Any]], model: str, states: list[str]) -> None:
    assert {row["status"] for row in fields_of(rows, model)} == set(states)


def test_demo__has_varied_rows(rows: list[dict[str, Any]]) -> None:
    users = fields_of(rows, "accounts.user")

    assert len(users) > 200
    assert {row["model"] for row in rows} == {model._meta.label_lower for model in MODELS}
    assert {user["gender"] for user in users} == set(User.Gender.values)
    assert len({(match["year"], match["week_number"]) for match in fields_of(rows, "matching.match")}) > 4
    assert {match["year"] for match in fields_of(rows, "matching.match")} == {2025, 2026}
    for flag in ("verified", "active", "deleted_at"):
        assert 3 < sum(bool(user[flag]) for user in users) < len(users) - 3


def test_demo__only_users_who_may_be_shown_have_matches(rows: list[dict[str, Any]]) -> None:
    users = {row["pk"]: row["fields"] for row in rows if row["model"] == "accounts.user"}
    matched = {match[side] for match in fields_of(rows, "matching.match") for side in ("user", "matched_user")}

    assert all(users[person]["verified"] and users[person]["active"] and not users[person]["deleted_at"] for person in matched)


def test_demo__only_verified_users_have_a_profile_video__and_it_is_verified(rows: list[dict[str, Any]]) -> None:
    videos = {row["pk"]: row["fields"] for row in rows if row["model"] == "videos.video"}
    shown = {row["pk"]: videos.get(row["fields"]["video"]) for row in rows if row["model"] == "accounts.user"}

    assert all(video["user"] == person and video["status"] == "verified" for person, video in shown.items() if video)
    assert {person for person, video in shown.items() if video} == {
        row["pk"] for row in rows if row["model"] == "accounts.user" and row["fields"]["verified"]
    }


def test_embeddings__some_users_have_one_and_no_deleted_user_has(rows: list[dict[str, Any]]) -> None:
    alive = {row["pk"] for row in rows if row["model"] == "accounts.user" and not row["fields"]["deleted_at"]}
    embedded = pq.read_table(FIXTURES / "demo_embeddings.parquet").column("user_id").to_pylist()

    assert len(embedded) == len(set(embedded)) > 180
    assert set(embedded) < alive


def test_embeddings__are_clustered() -> None:
    """Many users have another user who is much more similar than average, as in embeddings of a model."""
    vectors = np.array(pq.read_table(FIXTURES / "demo_embeddings.parquet").column("vector").to_pylist())
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)

    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.median(cosines.max(axis=1)) > 0.7
    assert np.median(cosines) < 0.3
