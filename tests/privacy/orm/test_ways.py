"""The list of ways is complete, and each way really writes."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.core.serializers.base import DeserializedObject
from django.db.models import Manager, Model, QuerySet

from accounts.models import User
from tests.privacy.life import full_life
from tests.privacy.orm.stale import ONE_PER_USER, PROTECTED, read, twin
from tests.privacy.orm.ways import DELETING, WAYS, Calls, columns
from videos.models import Video

WRITES_BY_NAME = re.compile(r"(create|update|save|insert|upsert|merge|write|copy)")
READS = {"select_for_update", "prepare_database_save"}
"""Methods whose names suggest a write, but which do not write."""
NOT_THE_DATA = {"self", "using", "batch_size", "returning_fields", "save_m2m"}
"""Parameters that do not change what is written to a table of personal data."""
SECOND_VALUES: dict[str, Any] = {
    "User": {"bio": "Written since."},
    "Video": {"rejection_reason": "Written since."},
    "Match": {"match_score": 0.125},
    "VideoCall": {"recording_url": "https://calls.example/since.webm"},
    "ProfileEmbedding": {"model": "since"},
    "ImportDigest": {"point": 4},
}


def writing_methods(owner: type) -> Iterator[str]:
    """Yield methods that Django marks as writing (templates must not call them), and methods with such a name."""
    for name in dir(owner):
        method = getattr(owner, name)
        by_name = WRITES_BY_NAME.search(name) and not name.startswith("_") and callable(method)
        if name not in READS and (getattr(method, "alters_data", False) or by_name):
            yield name


def is_deleting(name: str) -> bool:
    return name in DELETING or (name.startswith("a") and name[1:] in DELETING)


def expected_calls() -> dict[tuple[str, str], set[str]]:
    """Return each method that writes data, by class and name, with the parameters of Django's public methods.

    A new parameter may be a new way of writing.
    """
    related: Any = type(User(pk=uuid4()).videos)
    of_ours: Any = type(User.objects)
    found = {
        **{("Model", name): Model for name in writing_methods(Model)},
        **{("QuerySet", name): QuerySet for name in writing_methods(QuerySet)},
        **{("QuerySet", name): of_ours for name in set(writing_methods(of_ours)) - set(dir(Manager))},
        **{("RelatedManager", name): related for name in set(writing_methods(related)) & set(vars(related))},
        **{("DeserializedObject", name): DeserializedObject for name in writing_methods(DeserializedObject)},
    }
    return {
        (label, name): set() if name.startswith("_") or owner is of_ours else parameters_of(getattr(owner, name))
        for (label, name), owner in found.items()
        if not is_deleting(name)
    }


def parameters_of(method: Any) -> set[str]:
    parameters = inspect.signature(method).parameters.values()
    return {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)} - NOT_THE_DATA


def made_calls() -> set[tuple[str, str, str]]:
    """Return the calls of all ways: class, method, and each given parameter ("" for the call itself)."""
    person = full_life()
    calls = Calls(), Calls(is_async=True)
    for model in PROTECTED:
        stale = read(model, [person.pk])[0]
        for way in (way for way in WAYS if way.works_for(stale)):
            for call in calls:
                if way.inserts and model in ONE_PER_USER:
                    model._base_manager.filter(pk=stale.pk).delete()
                way.write(call, [twin(stale) if way.inserts else copy.copy(stale)])
    return calls[0].made | calls[1].made


@pytest.mark.at_length
@pytest.mark.django_db
def test_ways__call_every_writing_method_of_django() -> None:
    expected, made = expected_calls(), made_calls()
    assert {("Model", "asave"), ("QuerySet", "bulk_create"), ("QuerySet", "create_user"), ("RelatedManager", "add")} <= expected.keys()
    assert {(label, name) for label, name in expected if (label, name, "") not in made} == set()
    assert {(*one, parameter) for one, parameters in expected.items() for parameter in parameters if (*one, parameter) not in made} == set()


def test_ways__skip_rights_which_are_no_personal_data() -> None:
    """No way writes a many-to-many table."""
    for model, protection in PROTECTED.items():
        assert {field.name for field in model._meta.many_to_many} <= protection.kept


@pytest.mark.django_db
@pytest.mark.parametrize("model", PROTECTED, ids=lambda model: model.__name__)
def test_ways__each_overwrites_the_row_of_another_user(model: type[Model]) -> None:
    person = full_life()
    stale = read(model, [person.pk])
    for way in WAYS:
        if not way.updates or not way.works_for(stale[0]):
            continue
        for is_async in (False, True):
            assert model._base_manager.filter(pk__in=[one.pk for one in stale]).update(**SECOND_VALUES[model.__name__]) == len(stale)
            way.write(Calls(is_async=is_async), [copy.copy(one) for one in stale])
            assert rows(model, stale) == [values_of(one) for one in stale], way.name


@pytest.mark.django_db
@pytest.mark.parametrize("model", PROTECTED, ids=lambda model: model.__name__)
def test_ways__each_inserts_the_row_of_another_user(model: type[Model]) -> None:
    person = full_life()
    stale = read(model, [person.pk])[0]
    for way in WAYS:
        if not way.inserts or not way.works_for(stale):
            continue
        for is_async in (False, True):
            new = twin(stale)
            if model in ONE_PER_USER:
                model._base_manager.all().delete()
            expected = values_of(new)
            way.write(Calls(is_async=is_async), [new])
            (found,) = rows(model, [new])
            different = {name for name in expected if expected[name] != found[name]}
            assert different <= {"password", "is_staff", "is_superuser"} and (not different or way.manager), way.name


@pytest.mark.django_db
def test_ways__moving_a_row_writes_its_user() -> None:
    """A video can have another user. A match cannot: ``matches_users_check`` refuses it."""
    person, other = full_life(), full_life(email="other@example.com")
    for way in (way for way in WAYS if way.moves):
        stale = read(Video, [person.pk])
        User.objects.filter(pk=person.pk).update(video=None)
        for is_async in (False, True):
            assert Video.objects.filter(pk=stale[0].pk).update(user=other)
            way.write(Calls(is_async=is_async), [copy.copy(stale[0])])
            assert rows(Video, stale[:1]) == [values_of(stale[0])]


def values_of(one: Model) -> dict[str, Any]:
    """Return the values of the columns. Times have milliseconds, as in Django's JSON."""
    values = {field.name: getattr(one, field.attname) for field in columns(type(one), key=True) if field.name != "updated_at"}
    return {
        name: value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def rows(model: type[Model], like: list[Any]) -> list[dict[str, Any]]:
    found = model._base_manager.in_bulk([one.pk for one in like])
    return [values_of(found[one.pk]) for one in like]
