"""The payload of a user's point."""

from datetime import UTC, date, datetime, timedelta, timezone

from accounts.age import today
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.payloads import payload_of


def age_years(years: int) -> date:
    """Return the birthday of a user who has this age today and had it yesterday."""
    return today().replace(year=today().year - years, day=1) - timedelta(days=1)


def test_payload_of__every_field__is_included() -> None:
    created_at = datetime(2025, 1, 15, 12, 30, 5, 123456, tzinfo=timezone(timedelta(hours=2)))
    user = UserFactory.build(date_of_birth=age_years(30), gender="female", verified=True, active=False, created_at=created_at)
    embedding = ProfileEmbeddingFactory.build(
        user=user, location={"lat": 52.5, "lon": 13}, interests=["books", "hiking"], video_features=[0.25, -1.0]
    )
    assert payload_of(user, embedding) == {
        "user_id": str(user.pk),
        "age": 30,
        "age_group": "25-34",
        "gender": "female",
        "active": False,
        "verified": True,
        "created_at": "2025-01-15T10:30:05.123456Z",
        "location": {"lat": 52.5, "lon": 13},
        "interests": ["books", "hiking"],
        "video_features": [0.25, -1.0],
    }


def test_payload_of__interests__are_normalized() -> None:
    """Other services write interests with plain SQL, which permits a text of only white space."""
    interests = ["cafe\u0301", " caf\u00e9 ", "Caf\u00e9", " ", "sea\n"]
    payload = payload_of(UserFactory.build(created_at=datetime(2025, 1, 1, tzinfo=UTC)), ProfileEmbeddingFactory.build(interests=interests))
    assert payload["interests"] == ["caf\u00e9", "Caf\u00e9", "sea"]


def test_payload_of__null_fields__are_omitted() -> None:
    user = UserFactory.build(created_at=datetime(2025, 1, 1, tzinfo=UTC))
    payload = payload_of(user, ProfileEmbeddingFactory.build(user=user, location=None, interests=[], video_features=None))
    assert set(payload) == {"user_id", "age", "age_group", "gender", "active", "verified", "created_at", "interests"}
    assert (payload["interests"], payload["created_at"]) == ([], "2025-01-01T00:00:00Z")
