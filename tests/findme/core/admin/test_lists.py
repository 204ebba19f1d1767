"""Every list of the admin reads only one page, for any number of rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from backups.models import Backup, BackupVerification
from calls.models import VideoCall
from findme.core.admin import pagination
from findme.core.admin.model_admin import FindmeModelAdmin
from findme.core.admin.pagination import BoundedPaginator, bounded_count
from matching.models import Match
from privacy.actions.holds import hold
from privacy.models import AuditEntry, DataSubjectRequest, Hold
from privacy.models.holds import Article, Section
from privacy.models.request_choices import State
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory
from tests.privacy.requests.rows import request_in
from tests.support.staff import signed_in, staff, superuser
from vectorstore.models import ProfileEmbedding, QuarantinedUser
from videos.models import Video

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def make_groups(size: int) -> list[Group]:
    return [Group.objects.create(name=f"Group {Group.objects.count()}") for _ in range(size)]


def make_log(size: int) -> list[LogEntry]:
    kind = ContentType.objects.get_for_model(User)
    return [
        LogEntry.objects.create(user=UserFactory.create(), content_type=kind, object_id="x", object_repr="x", action_flag=CHANGE)
        for _ in range(size)
    ]


def make_quarantined_users(size: int) -> list[QuarantinedUser]:
    return [QuarantinedUser.objects.create(user_id=UserFactory.create().pk, reason="Wrong input", collection="x_v1") for _ in range(size)]


def make_audit_entries(size: int) -> list[AuditEntry]:
    return [
        AuditEntry.objects.create(action="export", actor_account="root", target_id=UserFactory.create().pk, outcome="done")
        for _ in range(size)
    ]


def make_requests(size: int) -> list[DataSubjectRequest]:
    made = [request_in(State.RECEIVED, user_id=UserFactory.create().pk) for _ in range(size)]
    return list(DataSubjectRequest.objects.filter(pk__in=made))


def make_holds(size: int) -> list[Hold]:
    return [hold(UserFactory.create().pk, Section.CALLS, Article.LEGAL_CLAIMS) for _ in range(size)]


def make_backups(size: int) -> list[Backup]:
    return [
        Backup.objects.create(
            destination="/backups",
            name=str(uuid4()),
            database="1/findme",
            taken_at=NOW,
            ended_at=NOW,
            is_complete=True,
            is_encrypted=True,
            size=1,
        )
        for _ in range(size)
    ]


def make_verifications(size: int) -> list[BackupVerification]:
    return [
        BackupVerification.objects.create(destination="/backups", name=str(uuid4()), database="1/findme", taken_at=NOW, is_complete=True)
        for _ in range(size)
    ]


ROWS: dict[type[Model], Callable[[int], list[Any]]] = {
    User: UserFactory.create_batch,
    Video: VideoFactory.create_batch,
    Match: MatchFactory.create_batch,
    VideoCall: VideoCallFactory.create_batch,
    ProfileEmbedding: ProfileEmbeddingFactory.create_batch,
    QuarantinedUser: make_quarantined_users,
    Group: make_groups,
    LogEntry: make_log,
    AuditEntry: make_audit_entries,
    DataSubjectRequest: make_requests,
    Hold: make_holds,
    Backup: make_backups,
    BackupVerification: make_verifications,
}
LISTS = pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__name__)


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def queries_of(client: Client, address: str, query: dict[str, str] | None = None) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address, query or {}).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


def test_lists__all_are_here() -> None:
    assert set(admin.site._registry) == set(ROWS)


@pytest.mark.at_length(every=4)
@pytest.mark.no_cover
@LISTS
def test_list__same_number_of_queries_for_one_row_and_for_fifty(model: type[Model]) -> None:
    client = signed_in(superuser())
    ROWS[model](1)
    queries_of(client, list_of(model))
    few = queries_of(client, list_of(model))
    ROWS[model](49)
    assert len(queries_of(client, list_of(model))) == len(few) <= 5


@LISTS
def test_list__nothing_is_counted_or_read_without_a_limit(model: type[Model]) -> None:
    ROWS[model](2)
    table = model._meta.db_table
    queries = queries_of(signed_in(superuser()), list_of(model), {"all": "", "_facets": "True"})
    who_asks = 'WHERE "users"."id" = '
    about_it = [query for query in queries if f'FROM "{table}"' in query and who_asks not in query]
    counted, keys, rows = about_it
    assert counted.startswith("SELECT COUNT(*) FROM (SELECT ") and counted.endswith("LIMIT 1001) subquery")
    assert keys.endswith("LIMIT 50")
    assert f'WHERE "{table}"."{model._meta.pk.column}" IN (' in rows


@LISTS
def test_list__order_has_an_index(model: type[Model]) -> None:
    """PostgreSQL reads the rows of a page from an index.

    It sorts only rows with the same ``created_at`` (incremental sort).
    """
    request = _request_for(superuser(), list_of(model))
    changelist = admin.site._registry[model].get_changelist_instance(request)
    query = str(changelist.queryset.values("pk").query)
    with connection.cursor() as cursor:
        for other_way in ("seqscan", "bitmapscan", "sort"):  # for the small table of a test, PostgreSQL does not prefer the index
            cursor.execute(f"SET LOCAL enable_{other_way} = off")
        cursor.execute(f"EXPLAIN {query} LIMIT 50")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert not re.search(r"(^|-> +)Sort ", plan), plan


def _request_for(person: User, address: str) -> Any:
    return signed_in(person).get(address).wsgi_request


@LISTS
def test_list__deletes_nothing(model: type[Model]) -> None:
    row = ROWS[model](1)[0]
    model_admin: Any = admin.site._registry[model]
    client = signed_in(superuser())
    assert "delete_selected" not in model_admin.get_actions(_request_for(superuser(), list_of(model)))
    if model is not Group:
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_delete", args=[row.pk])
        assert client.post(address, {"post": "yes"}).status_code == 403
        assert model._default_manager.filter(pk=row.pk).exists()


@pytest.mark.at_length(every=4)
@pytest.mark.no_cover
@LISTS
def test_page__same_number_of_queries_for_any_number_of_related_rows(model: type[Model]) -> None:
    client = signed_in(superuser())
    row = ROWS[model](1)[0]
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
    queries_of(client, address)
    few = queries_of(client, address)
    if isinstance(row, User):
        VideoFactory.create_batch(3, user=row)
        for match in MatchFactory.create_batch(3, user=row):
            VideoCallFactory.create_batch(2, match=match)
        row.groups.set(make_groups(3))
    if isinstance(row, Match):
        VideoCallFactory.create_batch(3, match=row)
    most = 14 if model in (User, DataSubjectRequest) else 12  # these pages also count or list what privacy keeps about them
    assert len(queries_of(client, address)) == len(few) <= most


@LISTS
def test_list__needs_the_view_permission(model: type[Model]) -> None:
    label, name = model._meta.app_label, model._meta.model_name
    assert signed_in(staff()).get(list_of(model)).status_code == 403
    assert signed_in(staff(f"{label}.view_{name}")).get(list_of(model)).status_code == 200


@pytest.mark.parametrize("model", [Video, Match, VideoCall])
def test_form__of_a_new_row_shows_nothing_that_the_system_writes(model: type[Model]) -> None:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
    page = signed_in(superuser()).get(address).content.decode()
    assert "Written by the system" not in page and "DatabaseDefault" not in page


def test_paginator__stops_counting_after_the_last_shown_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "COUNTED", 3)
    UserFactory.create_batch(5)
    paginator = BoundedPaginator(User.objects.order_by("pk"), 2)
    assert (paginator.count, paginator.num_pages, paginator.has_more) == (3, 2, True)
    assert bounded_count(User.objects.all()) == 4


def test_paginator__small_count_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "COUNTED", 5)
    UserFactory.create_batch(5)
    paginator = BoundedPaginator(User.objects.order_by("pk"), 2)
    assert (paginator.count, paginator.num_pages, paginator.has_more) == (5, 3, False)


def test_list__shows_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "COUNTED", 2)
    monkeypatch.setattr(BoundedPaginator, "counted", 2)
    UserFactory.create_batch(3)
    assert (
        f"more than 2 {User._meta.verbose_name_plural}: search or filter to see the others".encode()
        in signed_in(superuser()).get(list_of(User)).content
    )


def test_list__second_page_continues_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows have the same ``created_at``, as after one COPY."""
    monkeypatch.setattr(FindmeModelAdmin, "list_per_page", 10)
    person = superuser()
    UserFactory.create_batch(29)
    User.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    client = signed_in(person)
    pages = [client.get(list_of(User), {"p": page}).context["cl"].result_list for page in (1, 2, 3)]
    assert len({row.pk for page in pages for row in page}) == 30


@pytest.mark.parametrize("query", [{"p": "9" * 30}, {"p": "-1"}, {"nonsense": "1"}, {"status__exact": "none"}, {"e": "1"}])
def test_list__unusual_queries_are_no_server_errors(query: dict[str, str]) -> None:
    VideoFactory.create()
    assert signed_in(superuser()).get(list_of(Video), query, follow=True).status_code in {200, 400}


@pytest.mark.parametrize("address", [list_of(User), list_of(Video)])
@pytest.mark.parametrize("query", [{"q": "a\0b"}, {"status__exact": "a\0b"}, {"gender__exact": "\0"}, {"state": "\0"}])
def test_list__nul_is_no_server_error(address: str, query: dict[str, str]) -> None:
    assert signed_in(superuser()).get(address, query, follow=True).status_code in {200, 400}
