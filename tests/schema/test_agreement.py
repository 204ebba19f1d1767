"""``full_clean()`` accepts a row if and only if the database does, and its messages are sentences.

Two exceptions: only the forms require that a text is not empty, and that an e-mail address has the form of one.
"""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from tests.schema.rows import ANN, BOB, CEM, MATCH, ONE_WAY, UNUSED_ID, VIDEO, insert
from vectorstore.models import ProfileEmbedding
from videos.models import Video

SESSION = "the session of the call that is there"
many_examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""All examples share the fixture's rows. The row of an example is rolled back."""

BAD_TEXT = st.sampled_from(["\0", "a\0b", "\ud800", "b\udfff"])
ids = st.sampled_from([ANN, BOB, CEM, UNUSED_ID, None])
flags = st.sampled_from([True, False, None])
times = st.datetimes(timezones=st.just(UTC)) | st.none() | st.sampled_from([datetime(2026, 1, 5, hour, tzinfo=UTC) for hour in (9, 10)])
integers = st.integers(-3, 125) | st.integers() | st.sampled_from([2**31 - 1, 2**31, -(2**31) - 1, 2**63, -(2**63), None])
numbers = st.floats(-0.5, 1.5) | st.floats() | st.none()
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | BAD_TEXT | st.sampled_from([10**400, "\\u0000"])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | BAD_TEXT, inner, max_size=3)
)


def texts(longest: int) -> st.SearchStrategy[str | None]:
    """Texts that are short, of maximum length, too long, or impossible to store in PostgreSQL."""
    return st.text(min_size=1, max_size=9) | st.sampled_from(["x" * longest, "ü" * longest, "x" * (longest + 1), None]) | BAD_TEXT


def worst_words(size: int) -> str:
    """Return different words of three letters, joined in pairs. The full-text index stores each pair and both words."""
    letters = "bcdfghjklmnpqrvwxz0123456789"
    words = ["".join(word) for word in itertools.product(letters, repeat=3)]
    return " ".join(f"{one}-{other}" for one, other in itertools.pairwise(words))[:size]


LONG_BIOS = ["x " * 50_000, "ü" * 50_001, "x" * 100_001, "Ⱥ" * 50_000, worst_words(100_000), worst_words(100_001)]


def one_of(choices: list[str]) -> st.SearchStrategy[str | None]:
    return st.sampled_from([*choices, "nonsense", choices[0].upper(), "", None]) | BAD_TEXT


def vectors() -> st.SearchStrategy[list[Any] | None]:
    number = st.floats(width=32) | st.floats() | st.sampled_from([1e39, -1e39, 1e-50, 0.0, -0.0, None])
    changed = st.tuples(st.integers(0, 511), number).map(lambda change: [*ONE_WAY[: change[0]], change[1], *ONE_WAY[change[0] + 1 :]])
    return changed | st.sampled_from([[], ONE_WAY[:511], [*ONE_WAY, 0.5], [0.0] * 512, [1e-50] * 512, [1e-45] * 512, None])


LISTS_OF_INTERESTS = [[f"{number}" for number in range(100)], [f"{number}" for number in range(101)], ["sea"] * 101, ["a\u0301" * 100]]
"""Lists of maximum length, too long, with duplicates, and with a text whose length differs in its normal form."""

coordinates = st.floats(-200, 200) | st.sampled_from([90, -90, 180, -180, 90.0000001, "52", True, None, float("nan")])
locations = st.fixed_dictionaries({"lat": coordinates}, optional={"lon": coordinates, "city": st.just("Berlin")}) | json_values

users = {
    "id": ids,
    "email": st.sampled_from(
        [
            "ann@example.com",
            "ANN@EXAMPLE.COM",
            "new@example.com",
            "a@ü.example.com",
            "A@Ü.example.com",
            "a@b\0.com",
            f"{'x' * 250}@a.eu",
            None,
        ]
    ),
    "password": texts(255),
    "full_name": texts(255),
    "date_of_birth": st.dates() | st.none(),
    "gender": one_of(list(User.Gender)),
    "bio": texts(300) | st.sampled_from(LONG_BIOS),
    "video_id": st.sampled_from([VIDEO, UNUSED_ID, None]),
    "verified": flags,
    "active": flags,
    "is_staff": flags,
    "is_superuser": flags,
    "last_login": times,
    "restricted_at": times,
    "objected_at": times,
    "unconfirmed_at": times,
    "created_at": times,
    "updated_at": times,
    "deleted_at": times,
}
videos = {
    "id": st.sampled_from([VIDEO, UNUSED_ID]),
    "user_id": ids,
    "storage_url": texts(500),
    "thumbnail_url": texts(500),
    "duration": integers,
    "file_size": integers,
    "status": one_of(list(Video.Status)),
    "verification_score": numbers,
    "rejection_reason": texts(600),
    "metadata": json_values,
    "created_at": times,
    "deleted_at": times,
}
matches = {
    "user_id": ids,
    "matched_user_id": ids,
    "week_number": st.integers(-1, 55) | integers,
    "year": st.integers(-1, 2) | st.integers(1990, 2040) | st.integers(9998, 10001) | integers,
    "status": one_of(list(Match.Status)),
    "match_score": numbers,
    "user_action": one_of(list(Match.Action)),
    "matched_user_action": one_of(list(Match.Action)),
    "expires_at": times,
    "updated_at": times,
    "deleted_at": times,
}
calls = {
    "match_id": st.sampled_from([MATCH, UNUSED_ID, None]),
    "caller_id": ids,
    "callee_id": ids,
    "session_id": texts(255) | st.just(SESSION),
    "started_at": times,
    "ended_at": times,
    "duration": integers,
    "status": one_of(list(VideoCall.Status)),
    "recording_url": texts(500),
    "quality_rating": integers,
    "metadata": json_values,
    "created_at": times,
}
embeddings = {
    "user_id": ids,
    "vector": vectors(),
    "location": locations,
    "interests": st.lists(texts(100), max_size=3) | st.sampled_from(LISTS_OF_INTERESTS) | st.none(),
    "video_features": st.lists(st.floats() | st.none(), max_size=3) | st.sampled_from([[0.5] * 1024, [0.5] * 1025]) | st.none(),
    "model": texts(255),
    "created_at": times,
}

NINE = datetime(2026, 1, 5, 9, tzinfo=UTC)
SWAPPED = UUID("00000000-0000-4000-8000-0000000000ab")
"""A soft-deleted match. The same two users have another match in the same week."""
changes_of_matches = {
    "user_id": ids,
    "matched_user_id": ids,
    "week_number": st.integers(1, 3),
    "deleted_at": st.sampled_from([None, NINE]),
}
VALID: dict[type[Model], dict[str, Any]] = {
    User: {"email": "other@example.com", "password": "", "full_name": "Dan", "date_of_birth": date(1990, 1, 1), "gender": "male"},
    Video: {"user_id": BOB, "storage_url": "https://a", "duration": 1, "file_size": 1},
    Match: {"user_id": BOB, "matched_user_id": ANN, "week_number": 2, "year": 1999, "match_score": 0.5, "expires_at": NINE},
    VideoCall: {"match_id": MATCH, "caller_id": BOB, "callee_id": ANN, "session_id": "s"},
    ProfileEmbedding: {"user_id": CEM, "vector": ONE_WAY},
}


def sentences(row: Model) -> dict[str, list[str]]:
    """Return the messages of ``full_clean()`` for ``row``."""
    try:
        row.full_clean()
    except ValidationError as error:
        return dict(error.message_dict)
    return {}


def is_stored(row: Model) -> bool:
    """Return whether the database accepts a new row, or the changes of ``row``. Includes deferred constraints, and is rolled back."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                row.save(force_insert=row._state.adding)
                connection.check_constraints()
        except (IntegrityError, DataError, UnicodeEncodeError, ValueError):
            # psycopg and Python raise the last two for values that cannot be sent.
            return False
        transaction.set_rollback(True)
    return True


def agree(model: type[Model], overrides: dict[str, Any]) -> None:
    cleaned = model(**VALID[model] | overrides)
    messages = sentences(cleaned)
    assert is_stored(model(**VALID[model] | overrides)) == (not messages), messages
    if not messages:
        assert is_stored(cleaned)
    for field in messages:
        assert field == "__all__" or model._meta.get_field(field)


@pytest.fixture
def rows(users: None) -> None:
    """Insert an embedding, a call and two matches, so that examples can violate unique constraints."""
    insert("profile_embeddings", user_id=ANN)
    insert("video_calls", session_id=SESSION)
    insert("matches", user_id=ANN, matched_user_id=CEM, week_number=2, year=1999)
    insert("matches", id=SWAPPED, user_id=CEM, matched_user_id=ANN, week_number=2, year=1999, deleted_at=NINE)


@pytest.mark.parametrize("model", VALID)
def test_full_clean__and_the_database_accept_the_plain_row(rows: None, model: type[Model]) -> None:
    assert sentences(model(**VALID[model])) == {}
    assert is_stored(model(**VALID[model]))


@pytest.mark.no_cover
@many_examples
@given(overrides=st.fixed_dictionaries({}, optional=users))
def test_full_clean__agrees_on_users(rows: None, overrides: dict[str, Any]) -> None:
    agree(User, overrides)


@pytest.mark.no_cover
@many_examples
@given(overrides=st.fixed_dictionaries({}, optional=videos))
def test_full_clean__agrees_on_videos(rows: None, overrides: dict[str, Any]) -> None:
    agree(Video, overrides)


@pytest.mark.no_cover
@many_examples
@given(overrides=st.fixed_dictionaries({}, optional=matches))
def test_full_clean__agrees_on_matches(rows: None, overrides: dict[str, Any]) -> None:
    agree(Match, overrides)


@pytest.mark.no_cover
@many_examples
@given(changes=st.fixed_dictionaries({}, optional=changes_of_matches))
def test_full_clean__agrees_on_changes_of_matches(rows: None, changes: dict[str, Any]) -> None:
    match = Match.objects.get(pk=SWAPPED)
    for name, value in changes.items():
        setattr(match, name, value)
    messages = sentences(match)
    assert is_stored(match) == (not messages), messages


@pytest.mark.no_cover
@many_examples
@given(overrides=st.fixed_dictionaries({}, optional=calls))
def test_full_clean__agrees_on_calls(rows: None, overrides: dict[str, Any]) -> None:
    agree(VideoCall, overrides)


@pytest.mark.no_cover
@pytest.mark.long
@many_examples
@given(overrides=st.fixed_dictionaries({}, optional=embeddings))
def test_full_clean__agrees_on_embeddings(rows: None, overrides: dict[str, Any]) -> None:
    agree(ProfileEmbedding, overrides)


@pytest.mark.parametrize(
    ("model", "field", "sentence"),
    [
        (User, "email", "This field cannot be blank."),
        (User, "full_name", "This field cannot be blank."),
        (Video, "storage_url", "This field cannot be blank."),
        (VideoCall, "session_id", "This field cannot be blank."),
    ],
)
def test_full_clean__requires_a_text_that_may_be_empty_in_the_database(rows: None, model: type[Model], field: str, sentence: str) -> None:
    row = model(**VALID[model] | {field: ""})
    assert sentences(row) == {field: [sentence]}
    assert is_stored(row)


def test_full_clean__requires_an_email_address_that_may_be_any_text_in_the_database(rows: None) -> None:
    row = User(**VALID[User] | {"email": "not an address"})
    assert sentences(row) == {"email": ["Enter a valid email address."]}
    assert is_stored(row)
