"""The digest of a plan covers what is done, and not how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from privacy.actions.holds import hold
from privacy.actions.plan import Plan, plan_erasure
from privacy.declarations import Category, Disposition, Link, PersonalData, TableDeclaration
from privacy.models import Erasure
from privacy.models.holds import Article, Section
from privacy.purposes import ACCOUNT
from privacy.registry import registry
from tests.factories import UserFactory, VideoFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf

NAMES = st.text("abcdefghijklmnop_", min_size=1, max_size=6)
COLUMNS = st.dictionaries(st.sampled_from(["kept", "cleared", "deleted"]), st.lists(NAMES, max_size=3))
SHAPES = st.fixed_dictionaries(
    {"policy": st.integers(1, 3), "tables": st.dictionaries(NAMES, COLUMNS, max_size=3), "backups": st.integers(0, 2)}
)
COUNTS = st.dictionaries(NAMES, st.integers(0, 10**6), max_size=4)


@given(SHAPES, COUNTS, COUNTS)
def test_digest__of_the_same_shape__is_the_same(shape: dict[str, Any], first: dict[str, int], second: dict[str, int]) -> None:
    assert Plan(first, shape).digest == Plan(second, shape).digest


@given(SHAPES, SHAPES, COUNTS)
def test_digest__of_another_shape__is_another(first: dict[str, Any], second: dict[str, Any], counts: dict[str, int]) -> None:
    assert (Plan(counts, first).digest == Plan(counts, second).digest) == (first == second)


def sealed(plan: Plan) -> Erasure:
    return Erasure(plan=dict(plan.counts), plan_digest=plan.digest, policy_version=plan.policy_version)


@pytest.mark.django_db
def test_plan__counts_rows_of_each_table(shelf: Shelf) -> None:
    person = full_life()
    counts = plan_erasure(person.pk).counts
    assert {name: count for name, count in counts.items() if count} == {
        "deleted.users": 1,
        "deleted.videos": 2,
        "deleted.matches": 2,
        "deleted.video_calls": 2,
        "deleted.vector_import_digests": 1,
        "kept.vector_sync_queue": 1,
        "files_kept": 4,
    }
    assert {"store.shelf", "store.other"} & counts.keys() == {"store.other"}
    assert {"kept.audit_log", "kept.erasure_ledger", "deleted.axes_accesslog", "cleared.vector_imports"} <= counts.keys()


@pytest.mark.django_db
def test_plan__more_rows__is_the_same_plan(shelf: Shelf) -> None:
    person = full_life()
    before = plan_erasure(person.pk)
    VideoFactory.create(user=person)
    after = plan_erasure(person.pk)
    assert after.counts["deleted.videos"] == before.counts["deleted.videos"] + 1
    assert after.digest == before.digest
    assert after.differences(sealed(before)) == []


def add_store(_settings: Settings, monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    other = Shelf()
    other.name = "cupboard"
    monkeypatch.setattr(registry, "_stores", {**registry._stores, "cupboard": other})


def keep_column(_settings: Settings, monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    owner: Any = next(owner for owner in registry.owners if owner.section == "videos")
    table = owner.tables["videos.Video"]
    changed = TableDeclaration(table.links, (replace(table.data[0], erase=Disposition.KEPT), *table.data[1:]))
    monkeypatch.setattr(owner, "tables", {"videos.Video": changed}, raising=False)


def add_table(_settings: Settings, monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    owner: Any = next(owner for owner in registry.owners if owner.section == "videos")
    part = PersonalData(fields=("id",), category=Category.TECHNICAL, purpose=ACCOUNT, anonymize=Disposition.KEPT)
    monkeypatch.setattr(owner, "tables", {**owner.tables, "auth.Group": TableDeclaration((), (part,))}, raising=False)


def add_link(_settings: Settings, monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    owner: Any = next(owner for owner in registry.owners if owner.section == "videos")
    table = owner.tables["videos.Video"]
    links = (Link("user", erase=Disposition.KEPT),)
    monkeypatch.setattr(owner, "tables", {"videos.Video": TableDeclaration(links, table.data)}, raising=False)


def set_a_hold(_settings: Settings, _monkeypatch: pytest.MonkeyPatch, user: Any) -> None:
    hold(user.pk, Section.MATCHES, Article.LEGAL_CLAIMS)


def keep_backups(settings: Settings, _monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    settings.BACKUP_RETENTION_DAYS = 30


def add_file_store(settings: Settings, _monkeypatch: pytest.MonkeyPatch, _user: Any) -> None:
    settings.FILE_STORES = {"https://videos.example/": "/srv/videos"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (add_table, ["new: deleted.auth_group"]),
        (keep_column, ["the columns that are kept, the fields of a store, or the file stores"]),
        (add_link, ["new: kept.videos", "gone: deleted.videos"]),
        (add_store, ["the columns that are kept, the fields of a store, or the file stores"]),
        (set_a_hold, ["new: hold.matches.17_3_e"]),
        (keep_backups, ["new: backup_days"]),
        (add_file_store, ["the columns that are kept, the fields of a store, or the file stores"]),
    ],
)
def test_plan__any_other_change__is_another_plan(
    change: Callable[..., None], expected: list[str], shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = UserFactory.create()
    before = plan_erasure(person.pk)
    change(settings, monkeypatch, person)
    after = plan_erasure(person.pk)
    assert after.digest != before.digest
    assert after.differences(sealed(before)) == expected


@pytest.mark.django_db
def test_plan__every_name_fits_into_the_column() -> None:
    """A table that the column cannot name could not be erased."""
    user_id = full_life().pk
    plan = plan_erasure(user_id)
    Erasure.objects.create(user_id=user_id, plan=dict(plan.counts), plan_digest=plan.digest, policy_version=1)
