"""After any sequence of statements, every user whose point must change is on the queue.

A removed point is urgent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.at_length import examples
from tests.schema.rows import ANN, BOB, CEM, ONE_WAY, UNUSED_ID, ask, insert, settle

USER_IDS = [ANN, BOB, CEM, UNUSED_ID]
OTHER_VECTOR = [0.0, 1.0] + [0.0] * 510

Statement = tuple[str, tuple[Any, ...]]
Step = Statement | list[Any]
"""A statement, or a list of steps that is rolled back as a whole."""

POINTS = """
    SELECT id, (gender, date_of_birth, u.created_at, active, verified, vector, location, interests, video_features)::text
    FROM users u JOIN profile_embeddings e ON e.user_id = u.id WHERE deleted_at IS NULL AND NOT is_staff
"""

one_id = st.sampled_from(USER_IDS)
several_ids = st.lists(one_id, min_size=1, max_size=4, unique=True)
flag = st.sampled_from(["active", "verified", "is_staff", "is_superuser"])
user_change = st.one_of(
    st.builds(lambda column, value: f"{column} = {value}", flag, st.booleans()),
    st.sampled_from(
        [
            "gender = 'male'",
            "gender = 'other'",
            "date_of_birth = '1980-02-29'",
            "created_at = '2020-01-01'",
            "bio = 'Tea'",
            "updated_at = now()",
        ]
    ),
    st.sampled_from(["deleted_at = now()", "deleted_at = '2026-01-01'", "deleted_at = NULL"]),
)
embedding_change = st.sampled_from(
    [
        f"vector = '{{{','.join(map(str, OTHER_VECTOR))}}}'",
        "vector = vector",
        'location = \'{"lat": 1, "lon": 2}\'',
        "location = NULL",
        "interests = '{tea}'",
        "interests = '{}'",
        "video_features = '{0.5}'",
        "video_features = NULL",
        "model = 'new'",
    ]
)
USER = (
    "INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender)"
    " SELECT id, id || '@example.com', '', '', '1990-01-01', 'female' FROM unnest(%s::uuid[]) id ON CONFLICT (id) DO "
)
EMBEDDING = "INSERT INTO profile_embeddings (user_id, vector) SELECT unnest(%s::uuid[]), %s ON CONFLICT (user_id) DO "
statements: st.SearchStrategy[Statement] = st.one_of(
    st.builds(lambda ids, change: (f"UPDATE users SET {change} WHERE id = ANY (%s)", (ids,)), several_ids, user_change),
    st.builds(lambda ids, change: (f"UPDATE profile_embeddings SET {change} WHERE user_id = ANY (%s)", (ids,)), several_ids, embedding_change),
    st.builds(lambda ids: (f"{USER} NOTHING", (ids,)), several_ids),
    st.builds(lambda ids: (f"{USER} UPDATE SET gender = 'male', active = NOT users.active", (ids,)), several_ids),
    st.builds(lambda ids, vector: (f"{EMBEDDING} UPDATE SET vector = excluded.vector", (ids, vector)), several_ids, st.sampled_from([ONE_WAY, OTHER_VECTOR])),
    st.builds(lambda ids: (f"{EMBEDDING} NOTHING", (ids, ONE_WAY)), several_ids),
    st.builds(lambda ids: ("DELETE FROM users WHERE id = ANY (%s)", (ids,)), several_ids),
    st.builds(lambda ids: ("DELETE FROM profile_embeddings WHERE user_id = ANY (%s)", (ids,)), several_ids),
    st.builds(lambda old, new: ("UPDATE users SET id = %s WHERE id = %s", (new, old)), one_id, one_id),
    st.builds(lambda old, new: ("UPDATE profile_embeddings SET user_id = %s WHERE user_id = %s", (new, old)), one_id, one_id),
    st.sampled_from([("TRUNCATE users CASCADE", ()), ("TRUNCATE profile_embeddings", ())]),
)  # fmt: skip
steps: st.SearchStrategy[Step] = statements | st.lists(statements, min_size=1, max_size=3)


def run_step(step: Step) -> None:
    """Run the step.

    An error of the database undoes it: a duplicate key, or a TRUNCATE before the foreign keys were checked.
    """
    try:
        with transaction.atomic():
            if isinstance(step, tuple):
                if step[0].startswith("TRUNCATE"):
                    settle()
                ask(step[0], *step[1])
            else:
                for inner in step:
                    run_step(inner)
                transaction.set_rollback(True)
    except DatabaseError:
        pass


def points() -> dict[UUID, str]:
    return dict(ask(POINTS))


def entries(condition: str = "true") -> set[UUID]:
    """Return the queued user ids. After a TRUNCATE these are all ids."""
    user_ids = {user_id for (user_id,) in ask(f"SELECT user_id FROM vector_sync_queue WHERE {condition}")}
    return set(USER_IDS) if None in user_ids else user_ids


def example(test: Callable[..., None]) -> Callable[..., None]:
    example_settings = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150))
    return example_settings(given(steps=st.lists(steps, min_size=1, max_size=8))(test))


@pytest.mark.long
@pytest.mark.django_db
@example
def test_capture__random_statements__queue_every_user_with_a_changed_point(steps: list[Step]) -> None:
    with transaction.atomic():
        for key in (ANN, BOB, CEM):
            insert("users", id=key, email=f"{key}@example.com", gender="female")
        for key in (ANN, BOB):
            insert("profile_embeddings", user_id=key)
        settle()
        ask("DELETE FROM vector_sync_queue")
        ask("ALTER TABLE users DISABLE TRIGGER users_id_kept")
        before = points()
        for step in steps:
            run_step(step)
        after = points()
        assert {key for key in USER_IDS if before.get(key) != after.get(key)} <= entries()
        assert before.keys() - after.keys() <= entries("urgent")
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30))
@given(step=st.lists(statements, min_size=1, max_size=3))
def test_capture__rolled_back_statements__queue_no_user(step: list[Statement]) -> None:
    with transaction.atomic():
        run_step(step)
        assert entries() == set()
        transaction.set_rollback(True)
