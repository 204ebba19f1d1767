import pytest
from django.urls import reverse

from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.support.staff import said, signed_in, staff, superuser
from vectorstore.models import QuarantinedUser, QueueEntry

pytestmark = pytest.mark.django_db

LIST = reverse("admin:vectorstore_quarantineduser_changelist")
RETRY = "retry_selected"


def create_quarantined(count: int) -> list[QuarantinedUser]:
    return [
        QuarantinedUser.objects.create(user_id=UserFactory.create().pk, reason=f"Wrong input: number {number}", collection="users_v1")
        for number in range(count)
    ]


def test_list__shows_users_and_reasons() -> None:
    (one,) = create_quarantined(1)
    page = signed_in(superuser()).get(LIST).content.decode()
    assert str(one.pk) in page and "Wrong input: number 0" in page and "users_v1" in page
    assert reverse("admin:accounts_user_change", args=[one.pk]) in page


def test_list__without_permission_to_view_users__has_no_links() -> None:
    (one,) = create_quarantined(1)
    page = signed_in(staff("vectorstore.view_quarantineduser")).get(LIST).content.decode()
    assert str(one.pk) in page and reverse("admin:accounts_user_change", args=[one.pk]) not in page


def test_retry__selected_users__are_queued_as_urgent() -> None:
    first, second, third = create_quarantined(3)
    officer = staff("vectorstore.view_quarantineduser", "vectorstore.retry_quarantined")
    response = signed_in(officer).post(LIST, {"action": RETRY, "_selected_action": [str(first.pk), str(third.pk)]})
    assert said(response) == ["2 users are on the queue again. Users that Qdrant rejects again return to this list."]
    assert list(QuarantinedUser.objects.all()) == [second]
    assert set(QueueEntry.objects.values_list("user_id", "urgent")) == {(first.pk, True), (third.pk, True)}
    assert set(audited()) == {("retry", officer.pk, first.pk, "done"), ("retry", officer.pk, third.pk, "done")}


def test_retry__without_its_permission__does_nothing() -> None:
    (one,) = create_quarantined(1)
    client = signed_in(staff("vectorstore.view_quarantineduser"))
    assert RETRY not in client.get(LIST).content.decode()
    client.post(LIST, {"action": RETRY, "_selected_action": [str(one.pk)]})
    assert QuarantinedUser.objects.count() == 1 and QueueEntry.objects.count() == 0


def test_page__post_and_add__are_forbidden() -> None:
    (one,) = create_quarantined(1)
    client = signed_in(superuser())
    assert client.post(reverse("admin:vectorstore_quarantineduser_change", args=[one.pk]), {"reason": "x"}).status_code == 403
    assert client.get(reverse("admin:vectorstore_quarantineduser_add")).status_code == 403
