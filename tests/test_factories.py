"""The objects of the factories obey every rule."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from factory.django import DjangoModelFactory

from accounts.models import User
from calls.models import VideoCall
from matching.models import Match
from tests import factories
from videos.models import Video

FACTORIES: list[type[DjangoModelFactory[Any]]] = [
    factories.UserFactory,
    factories.VideoFactory,
    factories.MatchFactory,
    factories.VideoCallFactory,
    factories.ProfileEmbeddingFactory,
]


@pytest.mark.at_length(every=5)
@pytest.mark.no_cover
@pytest.mark.django_db
@pytest.mark.parametrize("factory", FACTORIES)
def test_factory__fifty_of_each_obey_every_rule(factory: type[DjangoModelFactory[Any]]) -> None:
    rows = factory.create_batch(50)
    connection.check_constraints()
    for row in rows:
        row.full_clean()
    assert type(rows[0])._default_manager.count() == 50


@pytest.mark.django_db
@pytest.mark.parametrize(
    "status", [*Video.Status, *Match.Status, *VideoCall.Status], ids=lambda status: f"{type(status).__qualname__}-{status}"
)
def test_factory__every_status(status: Video.Status | Match.Status | VideoCall.Status) -> None:
    factory: type[DjangoModelFactory[Any]]
    if isinstance(status, Video.Status):
        factory = factories.VideoFactory
    elif isinstance(status, Match.Status):
        factory = factories.MatchFactory
    else:
        factory = factories.VideoCallFactory
    row = factory.create(status=status)
    connection.check_constraints()
    row.full_clean()


@pytest.mark.django_db
@pytest.mark.parametrize("trait", ["staff", "superuser", "deleted", "inactive", "unverified", "anonymized"])
def test_user_factory__every_trait_obeys_every_rule(trait: str) -> None:
    factories.UserFactory.create(**{trait: True}).full_clean()


@pytest.mark.django_db
def test_user_factory__only_a_plain_user_is_matchable() -> None:
    plain = factories.UserFactory.create()
    for trait in ("staff", "superuser", "deleted", "inactive", "unverified", "anonymized"):
        factories.UserFactory.create(**{trait: True})
    assert list(User.objects.matchable()) == [plain]


@pytest.mark.django_db
def test_call_factory__of_a_given_match() -> None:
    match = factories.MatchFactory.create()
    call = factories.VideoCallFactory.create(match=match)
    assert {call.caller_id, call.callee_id} == match.user_ids


def test_embedding_factory__a_seed_gives_the_same_vector_again() -> None:
    assert factories.unit_vector(7) == factories.unit_vector(7) != factories.unit_vector(8)
