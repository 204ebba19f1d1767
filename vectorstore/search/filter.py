"""A search as a filter of Qdrant. It may let too many through, since PostgreSQL is asked afterwards, but must not leave anyone out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date

from django.conf import settings
from django.db import connection
from qdrant_client import models

from accounts.age import today
from vectorstore.projection.ages import DaysOfPoints, days_of_points
from vectorstore.qdrant.connection import is_embedded
from vectorstore.search.criteria import Near, SearchQuery

FEW_EXCLUDED, MOST_EXCLUDED = 4, 1000
"""Between these Qdrant is told whom to leave out, who are left out afterwards in any case. ``must_not has_id`` is slow beyond a thousand ids; and
a few are made up for by spare candidates, while queries with equal conditions share work in Qdrant."""


REMEMBERED_SECONDS = 1.0
"""How long it is taken for known, on one day, of which days the ages of points are: asking takes a tenth of a search. They get newer meanwhile, so
that the bounds are too wide; too narrow for this second they are where PostgreSQL's day has just turned and this machine's has not."""

_remembered: dict[tuple[str, ...], tuple[float, DaysOfPoints]] = {}
"""By database, vector store and day: until when, by the monotonic clock."""


def filter_of(query: SearchQuery) -> models.Filter | None:
    """None where nothing is asked. The embedded store reads the payload of each point for each condition, five times slower than without any: there
    the flags, which nearly everybody has, are left to PostgreSQL."""
    must = [] if is_embedded() else [_is("active", True), _is("verified", True)]
    if query.genders:
        must.append(_any_of("gender", query.genders))
    if query.interests:
        must.append(_any_of("interests", query.interests))
    must += [_is("interests", interest) for interest in sorted(set(query.all_interests))]
    must += _age(query)
    if query.near is not None:
        must.append(_near(query.near))
    must_not = _excluded(query)
    return models.Filter(must=[*must], must_not=[*must_not]) if must or must_not else None


def _is(key: str, value: bool | str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _any_of(key: str, values: Iterable[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=sorted(set(values))))


def _age(query: SearchQuery) -> list[models.FieldCondition]:
    """Bounds of the ages that points may still have of whom the query asks for."""
    if query.min_age is None and query.max_age is None:
        return []
    day = today()
    youngest, oldest = _days_of_points(day).widened(query.min_age, query.max_age, day)
    if youngest is None and oldest is None:
        return []
    return [models.FieldCondition(key="age", range=models.Range(gte=youngest, lte=oldest))]


def _near(near: Near) -> models.FieldCondition:
    return models.FieldCondition(
        key="location", geo_radius=models.GeoRadius(center=models.GeoPoint(lat=near.lat, lon=near.lon), radius=near.km * 1000)
    )


def _excluded(query: SearchQuery) -> list[models.HasIdCondition]:
    if is_embedded():
        return []  # it compares each of the ids with each of its points
    ids = [str(user_id) for user_id in query.never_found]
    return [models.HasIdCondition(has_id=[*sorted(ids)])] if FEW_EXCLUDED < len(ids) <= MOST_EXCLUDED else []


def _days_of_points(day: date) -> DaysOfPoints:
    store = settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION
    key = (str(connection.settings_dict["NAME"]), *store, day.isoformat())
    until, days = _remembered.get(key, (0.0, None))
    if days is None or until < time.monotonic():
        days = days_of_points()
        _remembered.clear()
        _remembered[key] = time.monotonic() + REMEMBERED_SECONDS, days
    return days


def clear_remembered_days() -> None:
    """Have it asked anew of which days the ages of points are."""
    _remembered.clear()
