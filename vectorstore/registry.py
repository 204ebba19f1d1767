"""Which collections are written, as PostgreSQL has it: a row for each, under the alias that leads, will lead, or led to it."""

from __future__ import annotations

import tomllib

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db.models import Case, Value, When

from vectorstore.connection import collection_name
from vectorstore.models import VectorCollection

State = VectorCollection.State


def written() -> tuple[str, ...]:
    """The collections that every change is told to, the live one first."""
    live_first = Case(When(state=State.LIVE, then=Value(0)), default=Value(1))
    return tuple(VectorCollection.objects.of(collection_name()).written().order_by(live_first, "name").values_list("name", flat=True))


def live() -> str | None:
    """The collection that the alias leads to."""
    return VectorCollection.objects.of(collection_name()).filter(state=State.LIVE).values_list("name", flat=True).first()


def register(name: str, state: VectorCollection.State, declaration: str) -> None:
    """Note a collection, or what has become of it. From the commit on every worker writes it, unless it has failed."""
    VectorCollection.objects.update_or_create(
        name=name,
        defaults={
            "alias": collection_name(),
            "state": state,
            "declaration": declaration,
            "release": release(),
            "live_since": TransactionNow() if state == State.LIVE else None,
            "keep_until": None,
            "failure": "",
        },
    )


def fail(name: str, why: str) -> None:
    """Give a building collection up: nobody writes it any more."""
    VectorCollection.objects.filter(name=name, state=State.BUILDING).update(state=State.FAILED, failure=why)


def release() -> str:
    """Which FindMe this is."""
    project: dict[str, str] = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    return project["version"]
