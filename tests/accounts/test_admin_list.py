"""The list of users in the admin: search by name, address or UUID, and filter by state."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import User
from findme.core.admin.pagination import COUNTED
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory, VideoCallFactory, VideoFactory, now
from tests.support.staff import signed_in, staff, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:accounts_user_changelist")


@pytest.fixture
def client() -> Client:
    return signed_in(superuser(full_name="Another User", email="else@example.net"))


def found(client: Client, **query: str) -> set[User]:
    return set(client.get(LIST, query).context["cl"].result_list)


@pytest.mark.parametrize("words", ["quux", "WILHEL", "mina.quux@exam", "Wilhelmina example.org", '"mina Quux"'])
def test_search__name_and_address(client: Client, words: str) -> None:
    person = UserFactory.create(full_name="Wilhelmina Quux", email="wilhelmina.quux@example.org")
    UserFactory.create()
    assert found(client, q=words) == {person}


@pytest.mark.parametrize("words", ["Wilhelmina nowhere", "100%", "under_score", "%", "_"])
def test_search__no_user(client: Client, words: str) -> None:
    UserFactory.create(full_name="Wilhelmina Quux", email="wilhelmina@example.org")
    assert found(client, q=words) == set()


@pytest.mark.parametrize("spelled", ["{}", " {} ", "{{{}}}", "urn:uuid:{}"])
def test_search__uuid(client: Client, spelled: str) -> None:
    person = UserFactory.create_batch(3)[1]
    assert found(client, q=spelled.format(person.pk)) == {person}


@pytest.mark.parametrize("words", ["quux", "wilhelmina quux", "mina@exam"])
def test_search__reads_the_trigram_index(client: Client, words: str) -> None:
    """Both the query of the rows and that of the count. PostgreSQL would not choose the index for a table this small."""
    request = client.get(LIST).wsgi_request
    model_admin = admin.site._registry[User]
    rows, _ = model_admin.get_search_results(request, model_admin.get_queryset(request), words)
    for query in (rows.order_by("-created_at")[:50], rows.order_by().values("pk")[: COUNTED + 1]):
        sql, parameters = query.query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_indexscan = off")
            cursor.execute(f"EXPLAIN {sql}", parameters)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "Bitmap Index Scan on idx_users_name_email_trgm" in plan and "Seq Scan" not in plan, plan
        for column in ("full_name", "email"):
            assert f"upper(({column})::text) ~~ " in plan, plan


def test_filter__state(client: Client) -> None:
    superuser_ = User.objects.get()
    active, inactive = UserFactory.create(), UserFactory.create(inactive=True)
    deleted, anonymized = UserFactory.create(deleted=True, active=False), UserFactory.create(anonymized=True)
    assert found(client, state="active") == {superuser_, active}
    assert found(client, state="deactivated") == {inactive}
    assert found(client, state="deleted") == {deleted, anonymized}
    restricted = UserFactory.create(restricted_at=now(), objected_at=now(), active=False)
    objecting = UserFactory.create(objected_at=now())
    gone = UserFactory.create(restricted_at=now(), objected_at=now(), deleted=True)
    assert found(client, state="active") == {superuser_, active}
    assert found(client, state="deactivated") == {inactive}
    assert found(client, state="restricted") == {restricted}
    assert found(client, state="not-matched") == {objecting}
    assert found(client) == {superuser_, active, inactive, deleted, anonymized, restricted, objecting, gone}


@pytest.mark.parametrize(
    ("trait", "label"), [("verified", "active"), ("inactive", "deactivated"), ("deleted", "deleted"), ("anonymized", "anonymized")]
)
def test_list__shows_the_state(client: Client, trait: str, label: str) -> None:
    person = UserFactory.create(**{trait: True})
    page = client.get(LIST, {"q": str(person.pk)}).content.decode()
    assert label in [line.strip() for line in page.splitlines()]


@pytest.mark.parametrize(("column", "label"), [("restricted_at", "restricted"), ("objected_at", "not matched")])
def test_list__shows_the_state_of_a_hidden_user(client: Client, column: str, label: str) -> None:
    person = UserFactory.create(**{column: now()})
    page = client.get(LIST, {"q": str(person.pk)}).content.decode()
    assert label in [line.strip() for line in page.splitlines()]


def test_page__links_to_the_users_rows(client: Client) -> None:
    person = UserFactory.create()
    VideoFactory.create_batch(2, user=person)
    for match in (MatchFactory.create(user=person), MatchFactory.create(matched_user=person)):
        VideoCallFactory.create(match=match, caller=match.matched_user, callee=match.user)
    ProfileEmbeddingFactory.create(user=person)
    VideoCallFactory.create()
    related = client.get(reverse("admin:accounts_user_change", args=[person.pk])).context["related"]
    assert [(link["title"], link["count"]) for link in related] == [
        ("Videos", 2),
        ("Matches", 2),
        ("Calls", 2),
        ("Embedding", 1),
        ("Requests", 0),
        ("Holds", 0),
        ("Audit log", 0),
    ]
    for link in related:
        assert len(client.get(link["url"]).context["cl"].result_list) == link["count"]


def test_page__links_only_to_rows_that_the_actor_may_see() -> None:
    person = UserFactory.create()
    response = signed_in(staff("accounts.view_user", "matching.view_match")).get(reverse("admin:accounts_user_change", args=[person.pk]))
    assert [link["title"] for link in response.context["related"]] == ["Matches"]
