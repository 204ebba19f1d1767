"""The id of a user never changes, because the erasure ledger knows the user by nothing else."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_id__cannot_be_changed_by_sql(role: str) -> None:
    person, other = UserFactory.create(), UserFactory.create()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = {role}")
        with pytest.raises(IntegrityError, match=f"The id of the user {person.pk} cannot be changed"), transaction.atomic():
            cursor.execute("UPDATE users SET id = %s WHERE id = %s", [uuid4(), person.pk])
    assert set(User.objects.values_list("pk", flat=True)) == {person.pk, other.pk}


def test_id__cannot_be_changed_by_the_orm() -> None:
    person = UserFactory.create()
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=person.pk).update(id=uuid4())


def test_statement_that_names_the_id__and_keeps_it__is_accepted() -> None:
    person = UserFactory.create()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET id = id, full_name = 'New'")
    assert User.objects.get(pk=person.pk).full_name == "New"
