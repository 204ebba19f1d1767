"""Create users with rows in every table."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from tests.factories import unit_vector
from vectorstore.models import ProfileEmbedding
from videos.models import Video


def make_lives(chance: random.Random, count: int) -> list[UUID]:
    """Create users, each with two videos, an embedding, and a match and a call with the next user. All their data contain ``mark(id)``."""
    ids = [UUID(int=chance.getrandbits(128), version=4) for _ in range(count)]
    users = User.objects.bulk_create([_user(one) for one in ids])
    videos = Video.objects.bulk_create([_video(user) for user in users for _ in range(2)])
    for user, video in zip(users, videos[::2], strict=True):
        user.video = video
    User.objects.bulk_update(users, ["video"])
    pairs = list(zip(users, [*users[1:], users[0]], strict=True))
    matches = Match.objects.bulk_create([_match(user, other) for user, other in pairs])
    VideoCall.objects.bulk_create([_call(match) for match in matches])
    ProfileEmbedding.objects.bulk_create([_embedding(user, number) for number, user in enumerate(users)])
    return ids


def make_videos_to_move() -> list[Video]:
    """Create videos of another user without personal words, for writes that assign them to an erased user."""
    keeper = User.objects.create_user("keeper@example.com", full_name="Keeper", date_of_birth=date(1990, 1, 1), gender="other")
    video = {"storage_url": "https://videos.example/moved.mp4", "duration": 30, "file_size": 1000}
    return Video.objects.bulk_create([Video(user=keeper, **video) for _ in range(5)])


def mark(user_id: UUID) -> str:
    """Return a word that only the personal data of this user contain. Rows that refer to the user have the id in another form."""
    return f"life{user_id.hex}"


def _user(user_id: UUID) -> User:
    word = mark(user_id)
    return User(
        pk=user_id,
        email=f"{word}@example.com",
        password=f"hash-{word}",
        full_name=f"Name {word}",
        bio=f"I am {word}.",
        date_of_birth=date(1990, 1, 1),
        gender="other",
        verified=True,
        last_login=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _video(user: User) -> Video:
    word = mark(user.pk)
    return Video(
        user=user,
        storage_url=f"https://videos.example/{word}.mp4",
        thumbnail_url=f"https://videos.example/{word}.jpg",
        duration=30,
        file_size=1000,
        rejection_reason=f"It shows {word}.",
        metadata={"by": word},
    )


def _match(user: User, other: User) -> Match:
    week = datetime.now(UTC).isocalendar()
    return Match(
        user=user,
        matched_user=other,
        week_number=week.week,
        year=week.year,
        match_score=0.5,
        expires_at=datetime.now(UTC) + timedelta(days=7),
        created_at=datetime.now(UTC),
    )


def _call(match: Match) -> VideoCall:
    words = [mark(match.user_id), mark(match.matched_user_id)]
    return VideoCall(
        match=match,
        caller_id=match.user_id,
        callee_id=match.matched_user_id,
        session_id="-".join(words),
        recording_url=f"https://calls.example/{'-'.join(words)}.webm",
        metadata={"users": words},
    )


def _embedding(user: User, number: int) -> ProfileEmbedding:
    return ProfileEmbedding(user=user, vector=unit_vector(number), interests=[mark(user.pk)], location={"lat": 1.5, "lon": 2.5})
