"""A factory for each model. Its objects obey every rule of the database and pass ``full_clean()``.

Call ``UserFactory.create(...)``, ``.build(...)`` or ``.create_batch(n, ...)``, which have types. A call of the class has none.
"""

# mypy: disable-error-code="no-untyped-call"
# factory-boy's declarations have no types. The result of ``create`` has one.

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from factory.declarations import Iterator, LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory, Trait
from factory.django import DjangoModelFactory, Password

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from tests.support.vectors import CITIES as CITIES
from tests.support.vectors import unit_vector as unit_vector
from vectorstore.models import ProfileEmbedding
from videos.models import Video

PASSWORD = "correct-horse-battery-staple"
"""The password of all users of ``UserFactory``."""

ACTIONS: dict[str, tuple[str, str]] = {
    "accepted": ("accepted", "accepted"),
    "rejected": ("accepted", "rejected"),
    "completed": ("accepted", "accepted"),
}
"""The answers of both users by the status of their match."""


def now() -> datetime:
    return datetime.now(UTC)


class UserFactory(DjangoModelFactory[User]):
    """A user who can be found by other users: not deleted, active, verified, not staff."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    email = Sequence(lambda n: f"person{n}@example.com")
    password = Password(PASSWORD)
    full_name = Sequence(lambda n: f"Person Number {n}")
    date_of_birth = Sequence(lambda n: date(1970 + n % 35, 1 + n % 12, 2 + n % 27))
    gender = Iterator(["female", "male", "other"])
    bio = Sequence(lambda n: f"Reads books, and climbs hill number {n}.")
    verified = True

    class Params:
        staff = Trait(is_staff=True)
        superuser = Trait(is_staff=True, is_superuser=True)
        deleted = Trait(deleted_at=LazyFunction(now))
        inactive = Trait(active=False)
        unverified = Trait(verified=False)
        anonymized = Trait(
            email=LazyAttribute(lambda user: f"deleted_{user.id}@findme.ai"),
            full_name="Deleted User",
            bio=None,
            password="",
            deleted_at=LazyFunction(now),
            id=LazyFunction(uuid4),
        )


class VideoFactory(DjangoModelFactory[Video]):
    """A verified video. Another ``status`` sets the fields that belong to it."""

    class Meta:
        model = Video

    user = SubFactory(UserFactory)
    storage_url = Sequence(lambda n: f"https://videos.example.com/{n}.mp4")
    thumbnail_url = LazyAttribute(lambda video: video.storage_url.replace(".mp4", ".jpg"))
    duration = Sequence(lambda n: 1 + n % 120)
    file_size = LazyAttribute(lambda video: video.duration * 250_000)
    status = Video.Status.VERIFIED
    verification_score = LazyAttribute(lambda video: {"verified": 0.97, "rejected": 0.12}.get(video.status))
    rejection_reason = LazyAttribute(lambda video: "No face can be seen." if video.status == "rejected" else None)
    metadata = LazyFunction(lambda: {"width": 1080, "height": 1920})

    class Params:
        deleted = Trait(deleted_at=LazyFunction(now))


class MatchFactory(DjangoModelFactory[Match]):
    """A pending match of two new users in this ISO week. Another ``status`` sets its answers."""

    class Meta:
        model = Match

    user = SubFactory(UserFactory)
    matched_user = SubFactory(UserFactory)
    week_number = LazyFunction(lambda: now().isocalendar().week)
    year = LazyFunction(lambda: now().isocalendar().year)
    status = Match.Status.PENDING
    match_score = Sequence(lambda n: (n % 101) / 100)
    user_action = LazyAttribute(lambda match: ACTIONS.get(match.status, (None, None))[0])
    matched_user_action = LazyAttribute(lambda match: ACTIONS.get(match.status, (None, None))[1])
    expires_at = LazyAttribute(lambda match: now() + timedelta(days=-1 if match.status == "expired" else 7))

    class Params:
        deleted = Trait(deleted_at=LazyFunction(now))


class VideoCallFactory(DjangoModelFactory[VideoCall]):
    """A call of the match's first user to the second. Another ``status`` sets its times."""

    class Meta:
        model = VideoCall

    class Params:
        lasted = timedelta(minutes=10)

    match = SubFactory(MatchFactory, status=Match.Status.ACCEPTED)
    caller = SelfAttribute("match.user")
    callee = SelfAttribute("match.matched_user")
    session_id = Sequence(lambda n: f"session-{n:06}")
    status = VideoCall.Status.INITIATED
    started_at = LazyAttribute(lambda call: now() - timedelta(days=1) if call.status in {"active", "ended"} else None)
    ended_at = LazyAttribute(lambda call: call.started_at + call.lasted if call.status == "ended" else None)
    duration = LazyAttribute(lambda call: int(call.lasted.total_seconds()) if call.ended_at else None)
    quality_rating = LazyAttribute(lambda call: 4 if call.status == "ended" else None)
    metadata = LazyFunction(lambda: {"codec": "vp9"})


class ProfileEmbeddingFactory(DjangoModelFactory[ProfileEmbedding]):
    """An embedding of a new user. The same ``seed`` gives the same vector."""

    class Meta:
        model = ProfileEmbedding

    class Params:
        seed = Sequence(lambda n: n)

    user = SubFactory(UserFactory)
    vector = LazyAttribute(lambda embedding: unit_vector(embedding.seed))
    location = LazyAttribute(lambda embedding: dict(zip(("lat", "lon"), CITIES[embedding.seed % len(CITIES)], strict=True)))
    interests = LazyFunction(lambda: ["books", "hiking"])
    video_features = LazyFunction(lambda: [0.25, 0.5])
    model = "test-model"
