"""Translate a query to a Qdrant filter. It may match too many points, since PostgreSQL decides later, but must never match too few."""

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

MIN_EXCLUDED, MAX_EXCLUDED = 4, 1000
"""The filter excludes ids only if there are more than the first and at most the second number of them.

All of them are removed afterwards in any case. ``must_not has_id`` is slow beyond a thousand ids. Spare candidates replace a few excluded ones, and
queries with equal conditions share work in Qdrant.
"""


CACHE_SECONDS = 1.0
"""How long the days of the points' ages are cached. Reading them takes a tenth of a search.

The ages get newer meanwhile, so the cached bounds are too wide. They are too narrow for at most this second, if PostgreSQL's day has changed and
this machine's has not.
"""

_cached_days: dict[tuple[str, ...], tuple[float, DaysOfPoints]] = {}
"""Expiry by the monotonic clock, and the days, by database, vector store and day."""


def filter_of(query: SearchQuery) -> models.Filter | None:
    """Return the filter, or None if there is no condition.

    The embedded store reads every point's payload for each condition, which is five times slower than no condition. Nearly all users have both flags,
    so there PostgreSQL alone checks them.
    """
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
    """Return bounds for the ages that matching users' points may still have."""
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
        # The embedded store compares each id with each of its points.
        return []
    ids = [str(user_id) for user_id in query.never_found]
    return [models.HasIdCondition(has_id=[*sorted(ids)])] if MIN_EXCLUDED < len(ids) <= MAX_EXCLUDED else []


def _days_of_points(day: date) -> DaysOfPoints:
    store = settings.QDRANT_URL, settings.QDRANT_PATH, settings.QDRANT_COLLECTION
    key = (str(connection.settings_dict["NAME"]), *store, day.isoformat())
    expires_at, days = _cached_days.get(key, (0.0, None))
    if days is None or expires_at < time.monotonic():
        days = days_of_points()
        _cached_days.clear()
        _cached_days[key] = time.monotonic() + CACHE_SECONDS, days
    return days


def clear_cached_days() -> None:
    """Read the days of the points' ages again before the next search."""
    _cached_days.clear()
