"""For every constraint of the five tables: a row that violates it, and a similar row that is permitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf, nan
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.schema.rows import ANN, BOB, CEM, CHECK, FOREIGN_KEY, MATCH, NOT_NULL, ONE_WAY, UNIQUE, UNUSED_ID, VIDEO

NINE, TEN = datetime(2026, 1, 5, 9, tzinfo=UTC), datetime(2026, 1, 5, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Violation:
    """The constraint ``rule`` rejects a row with the columns ``broken`` and accepts one with ``permitted``. The row ``existing`` is inserted first."""

    table: str
    rule: str
    sqlstate: str
    broken: dict[str, Any]
    permitted: dict[str, Any]
    existing: dict[str, Any] | None = field(default=None)
    by_insert: bool = True
    """Whether an INSERT can violate it."""

    @property
    def by_update(self) -> bool:
        """Whether an UPDATE can violate it. A trigger overwrites ``updated_at`` in every UPDATE, and no UPDATE can change the users of a match."""
        fixed = {"updated_at", *(("id", "user_id", "matched_user_id") if self.table == "matches" else ())}
        return not self.by_insert or not fixed & self.broken.keys()

    def __str__(self) -> str:
        return f"{self.rule}-{'-'.join(f'{column}={str(value)[:20]}' for column, value in self.broken.items())}"


def one_of(table: str, column: str, *values: str) -> list[Violation]:
    """Return violations of a CHECK that ``column`` is one of ``values``."""
    rule = f"{table}_{column}_check"
    wrong = ("", values[0].upper(), f"{values[0]} ")
    return [Violation(table, rule, CHECK, {column: bad} | _times(bad), {column: good} | _times(good)) for bad in wrong for good in values]


def _times(status: str) -> dict[str, Any]:
    return {"started_at": NINE, "ended_at": TEN} if status == "ended" else {}


def between(table: str, column: str, *, wrong: list[Any], right: list[Any]) -> list[Violation]:
    rule = f"{table}_{column}_check"
    return [Violation(table, rule, CHECK, {column: bad}, {column: right[n % len(right)]}) for n, bad in enumerate(wrong)]


def not_null(table: str, **right: Any) -> list[Violation]:
    return [Violation(table, f"{table}.{column}", NOT_NULL, {column: None}, {column: value}) for column, value in right.items()]


def refers(table: str, column: str, other: Any) -> Violation:
    return Violation(table, f"{table}_{column}_fkey", FOREIGN_KEY, {column: UNUSED_ID}, {column: other})


def weeks() -> list[Violation]:
    """Return violations of the check of the ISO week, also with extreme years, which must not cause another error.

    2020 and 2026 have 53 ISO weeks, 2024 and 2025 have 52.
    """
    wrong = [(53, 2024), (53, 2025), (54, 2026), (0, 2026), (-1, 2026), (1, 0), (1, -1), (52, -2147483648), (1, 10000), (53, 2147483647)]
    right = [(52, 2024), (52, 2025), (53, 2026), (53, 2020), (1, 2026), (1, 1), (52, 1), (52, 9999), (1, 9999), (52, 2000)]
    return [
        Violation(
            "matches",
            "matches_week_number_check",
            CHECK,
            {"week_number": bad[0], "year": bad[1]},
            {"week_number": good[0], "year": good[1]},
        )
        for bad, good in zip(wrong, right, strict=True)
    ]


def with_number(number: float | None) -> list[float | None]:
    return [0.5, number, *ONE_WAY[2:]]


def embeddings() -> list[Violation]:
    table, rule = "profile_embeddings", "profile_embeddings_vector_{}_check"
    long, finite, zero = (rule.format(kind) for kind in ("length", "finite", "nonzero"))
    features, interests = "profile_embeddings_video_features_check", "profile_embeddings_interests_check"
    vector: dict[str, Any] = {"vector": ONE_WAY}
    return [
        Violation(table, long, CHECK, {"vector": ONE_WAY[:511]}, vector),
        Violation(table, long, CHECK, {"vector": [*ONE_WAY, 0.5]}, vector),
        *(Violation(table, finite, CHECK, {"vector": with_number(bad)}, {"vector": with_number(-0.0)}) for bad in (nan, inf, -inf, None)),
        Violation(table, zero, CHECK, {"vector": [0.0] * 512}, {"vector": [0.0] * 511 + [1e-30]}),
        Violation(table, zero, CHECK, {"vector": [-0.0] * 512}, {"vector": [-1.0] * 512}),
        *(
            Violation(table, features, CHECK, {"video_features": [0.5, bad]}, {"video_features": [0.5, 3e38]})
            for bad in (nan, inf, -inf, None)
        ),
        Violation(table, features, CHECK, {"video_features": [[0.5], [0.5]]}, {"video_features": None}),
        Violation(table, interests, CHECK, {"interests": ["books", None]}, {"interests": ["books", "NULL"]}),
        Violation(table, interests, CHECK, {"interests": ["books", ""]}, {"interests": ["books", " "]}),
        Violation(table, interests, CHECK, {"interests": [["books"]]}, {"interests": []}),
        *sizes_of_lists(),
        *locations(),
    ]


def sizes_of_lists() -> list[Violation]:
    table, count, length = "profile_embeddings", "profile_embeddings_{}_count_check", "profile_embeddings_interests_length_check"
    texts = [f"{number}" for number in range(101)]
    return [
        Violation(table, count.format("interests"), CHECK, {"interests": texts}, {"interests": texts[:100]}),
        Violation(table, length, CHECK, {"interests": ["sea", "x" * 101]}, {"interests": ["sea", "x" * 100]}),
        Violation(table, length, CHECK, {"interests": ["ü" * 101]}, {"interests": ["ü" * 100]}),
        Violation(table, length, CHECK, {"interests": [f"{'x' * 100} "]}, {"interests": [f"{'x' * 99} "]}),
        Violation(table, count.format("video_features"), CHECK, {"video_features": [0.5] * 1025}, {"video_features": [0.5] * 1024}),
    ]


def locations() -> list[Violation]:
    rule = "profile_embeddings_location_check"
    wrong: list[Any] = [
        {"lat": 91, "lon": 0},
        {"lat": -90.001, "lon": 0},
        {"lat": 0, "lon": 180.001},
        {"lat": 0, "lon": -181},
        {"lat": "52", "lon": 13},
        {"lat": None, "lon": 13},
        {"lat": True, "lon": 13},
        {"lat": 52},
        {},
        {"lat": 52, "lon": 13, "city": "Berlin"},
        [52, 13],
        "52,13",
        None,
    ]
    right = [{"lat": 90, "lon": 180}, {"lat": -90, "lon": -180}, {"lat": 0, "lon": 0}, {"lon": 13.405, "lat": 52.52}]
    return [
        Violation("profile_embeddings", rule, CHECK, {"location": Jsonb(bad)}, {"location": Jsonb(right[n % 4])})
        for n, bad in enumerate(wrong)
    ]


def supported(table: str, *columns: str) -> list[Violation]:
    """Return violations of the date range: Python has no such date, or not in every time zone."""
    wrong = ["infinity", "-infinity", "19900-05-01", "0044-03-15 BC", "0001-01-01 23:59:59.999999+00", "9999-12-31 00:00+00"]
    right = ["0001-01-02 00:00+00", "9999-12-30 23:59:59.999999+00"]
    return [
        Violation(table, f"{table}_{column}_range_check", CHECK, {column: bad}, {column: right[n % 2]})
        for column in columns
        for n, bad in enumerate(wrong)
    ]


USERS = [
    *not_null("users", id=UNUSED_ID, email="new@example.com", password_hash="", full_name="", date_of_birth="1990-01-01", gender="male"),
    *not_null("users", verified=True, active=False, created_at=NINE, updated_at=NINE, is_staff=False, is_superuser=False),
    Violation("users", "users_pkey", UNIQUE, {"id": ANN}, {"id": UNUSED_ID}),
    Violation("users", "users_email_key", UNIQUE, {"email": "ann@example.com"}, {"email": "anna@example.com"}),
    Violation("users", "idx_users_email_lower", UNIQUE, {"email": "Ann@Example.COM"}, {"email": "Anna@Example.COM"}),
    *one_of("users", "gender", "male", "female", "other"),
    Violation("users", "users_video_id_fkey", FOREIGN_KEY, {"video_id": UNUSED_ID}, {"video_id": None}),
    Violation("users", "users_video_id_fkey", FOREIGN_KEY, {"video_id": VIDEO}, {"video_id": None}),  # a video of another user
    *supported(
        "users", "date_of_birth", "created_at", "updated_at", "deleted_at", "last_login", "restricted_at", "objected_at", "unconfirmed_at"
    ),
    Violation(
        "users",
        "users_reserved_email_check",
        CHECK,
        {"email": f"deleted_{UNUSED_ID}@findme.ai"},
        {"email": f"deleted_{UNUSED_ID}@example.com"},
    ),
    Violation("users", "users_bio_length_check", CHECK, {"bio": "x" * 100_001}, {"bio": "x" * 100_000}),
    Violation("users", "users_bio_length_check", CHECK, {"bio": "\u00fc" * 50_001}, {"bio": "\u00fc" * 50_000}),
]
VIDEOS = [
    *not_null("videos", id=UNUSED_ID, user_id=BOB, storage_url="", duration=1, file_size=0, status="error"),
    *not_null("videos", metadata=Jsonb([]), created_at=NINE, updated_at=NINE),
    Violation("videos", "videos_pkey", UNIQUE, {"id": VIDEO}, {"id": UNUSED_ID}),
    *between("videos", "duration", wrong=[0, -1, 121, 2147483647], right=[1, 120]),
    *one_of("videos", "status", "uploading", "processing", "verifying", "verified", "rejected", "error"),
    *between("videos", "verification_score", wrong=[-0.001, 1.001, nan, inf, -inf], right=[0.0, 1.0, None, 0.5]),
    refers("videos", "user_id", BOB),
    *supported("videos", "created_at", "updated_at", "deleted_at"),
]
MATCHES = [
    *not_null("matches", id=UNUSED_ID, user_id=BOB, matched_user_id=BOB, week_number=1, year=2026, match_score=0.0, expires_at=NINE),
    *not_null("matches", status="expired", created_at=NINE, updated_at=NINE),
    Violation("matches", "matches_pkey", UNIQUE, {"id": MATCH}, {"id": UNUSED_ID}),
    Violation("matches", "matches_check", CHECK, {"user_id": CEM, "matched_user_id": CEM}, {"user_id": BOB, "matched_user_id": CEM}),
    *one_of("matches", "status", "pending", "accepted", "rejected", "completed", "expired"),
    *between("matches", "match_score", wrong=[-0.001, 1.001, nan, inf, -inf], right=[0.0, 1.0, 0.5]),
    *one_of("matches", "user_action", "accepted", "rejected"),
    *one_of("matches", "matched_user_action", "accepted", "rejected"),
    *weeks(),
    refers("matches", "user_id", BOB),
    refers("matches", "matched_user_id", BOB),
    *supported("matches", "expires_at", "created_at", "updated_at", "deleted_at"),
    Violation(
        "matches",
        "matches_user_id_matched_user_id_week_number_year_key",
        UNIQUE,
        {"user_id": ANN, "matched_user_id": BOB, "week_number": 1, "year": 1999},
        {"user_id": ANN, "matched_user_id": BOB, "week_number": 2, "year": 1999},
    ),
    Violation(
        "matches",
        "matches_pair_week_number_year_key",
        UNIQUE,
        {"user_id": BOB, "matched_user_id": ANN, "week_number": 1, "year": 1999},
        {"user_id": BOB, "matched_user_id": ANN, "week_number": 1, "year": 2000},
    ),
    Violation(
        "matches",
        "matches_user_id_matched_user_id_week_number_year_key",
        UNIQUE,
        {"week_number": 2, "year": 1999, "deleted_at": NINE},
        {"week_number": 3, "year": 1999, "deleted_at": NINE},
        existing={"user_id": ANN, "matched_user_id": CEM, "week_number": 2, "year": 1999},
    ),
    Violation(
        "matches",
        "matches_pair_week_number_year_key",
        UNIQUE,
        {"week_number": 2, "year": 1999, "deleted_at": None},
        {"week_number": 2, "year": 1999, "deleted_at": NINE},
        existing={"user_id": CEM, "matched_user_id": ANN, "week_number": 2, "year": 1999},
    ),
    *(
        Violation("matches", "matches_users_check", CHECK, broken, permitted, by_insert=False)
        for broken, permitted in (
            ({"user_id": BOB}, {"user_id": CEM, "matched_user_id": ANN}),
            ({"matched_user_id": BOB}, {"user_id": ANN, "matched_user_id": CEM}),
            ({"id": UNUSED_ID}, {"status": "expired"}),
        )
    ),
]
CALLS = [
    *not_null("video_calls", id=UNUSED_ID, match_id=MATCH, caller_id=ANN, callee_id=BOB, session_id="", status="missed"),
    *not_null("video_calls", metadata=Jsonb({}), created_at=NINE),
    Violation("video_calls", "video_calls_pkey", UNIQUE, {"id": UNUSED_ID}, {"id": ANN}, existing={"id": UNUSED_ID}),
    Violation("video_calls", "video_calls_session_id_key", UNIQUE, {"session_id": "a"}, {"session_id": "A"}, existing={"session_id": "a"}),
    *one_of("video_calls", "status", "initiated", "ringing", "active", "ended", "missed", "rejected"),
    *between("video_calls", "quality_rating", wrong=[0, 6, -1], right=[1, 5, None]),
    *between("video_calls", "duration", wrong=[-1, -2147483648], right=[0, 1, None]),
    Violation(
        "video_calls", "video_calls_ended_at_check", CHECK, {"started_at": NINE, "ended_at": NINE}, {"started_at": NINE, "ended_at": TEN}
    ),
    Violation(
        "video_calls", "video_calls_ended_at_check", CHECK, {"started_at": TEN, "ended_at": NINE}, {"started_at": None, "ended_at": NINE}
    ),
    Violation("video_calls", "video_calls_ended_times_check", CHECK, {"status": "ended"}, {"status": "ended"} | _times("ended")),
    Violation(
        "video_calls",
        "video_calls_ended_times_check",
        CHECK,
        {"status": "ended", "started_at": NINE},
        {"status": "active", "started_at": NINE},
    ),
    Violation(
        "video_calls", "video_calls_ended_times_check", CHECK, {"status": "ended", "ended_at": TEN}, {"status": "missed", "ended_at": TEN}
    ),
    *supported("video_calls", "started_at", "ended_at", "created_at"),
    refers("video_calls", "match_id", MATCH),
    refers("video_calls", "caller_id", ANN),
    refers("video_calls", "callee_id", BOB),
    Violation("video_calls", "video_calls_users_of_match_check", CHECK, {"callee_id": CEM}, {"callee_id": BOB}),
    Violation("video_calls", "video_calls_users_of_match_check", CHECK, {"caller_id": CEM}, {"caller_id": BOB, "callee_id": ANN}),
    Violation("video_calls", "video_calls_users_of_match_check", CHECK, {"callee_id": ANN}, {"caller_id": ANN}),
]
EMBEDDINGS = [
    *not_null("profile_embeddings", user_id=BOB, vector=ONE_WAY, interests=["x"], model="", created_at=NINE, updated_at=NINE),
    Violation("profile_embeddings", "profile_embeddings_pkey", UNIQUE, {"user_id": ANN}, {"user_id": BOB}, existing={"user_id": ANN}),
    refers("profile_embeddings", "user_id", BOB),
    Violation("profile_embeddings", "profile_embeddings_user_id_check", CHECK, {"user_id": UUID(int=0)}, {"user_id": BOB}),
    *supported("profile_embeddings", "created_at", "updated_at"),
    *embeddings(),
]
VIOLATIONS = [*USERS, *VIDEOS, *MATCHES, *CALLS, *EMBEDDINGS]
