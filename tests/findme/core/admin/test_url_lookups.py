"""The URL of a list can filter and sort only by fields that the same user sees on the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.http import HttpRequest
from django.test import RequestFactory

from accounts.models import User
from findme.core.admin.model_admin import FindmeModelAdmin
from findme.core.admin.url_lookups import COMPARISONS, PARTS_OF_DATES
from matching.models import Match
from tests.factories import MatchFactory, ProfileEmbeddingFactory, UserFactory
from tests.findme.core.admin.test_lists import LISTS, ROWS, list_of
from tests.support.staff import signed_in, staff, superuser
from vectorstore.models import ProfileEmbedding

pytestmark = pytest.mark.django_db

PERSON = {"id", "email", "full_name", "date_of_birth", "gender", "bio", "video", "verified", "active", "is_staff"}
PERSON |= {"created_at", "updated_at", "deleted_at", "last_login", "restricted_at", "objected_at", "unconfirmed_at"}
SHOWN: dict[str, set[str]] = {
    "accounts.User": PERSON,
    "videos.Video": {
        *("id", "user", "storage_url", "thumbnail_url", "duration", "file_size", "status", "rejection_reason", "verification_score"),
        *("created_at", "updated_at", "deleted_at"),
    },
    "matching.Match": {
        *("id", "user", "matched_user", "year", "week_number", "match_score", "status", "user_action", "matched_user_action", "expires_at"),
        *("created_at", "updated_at", "deleted_at"),
    },
    "calls.VideoCall": {
        *(
            "id",
            "match",
            "caller",
            "callee",
            "session_id",
            "status",
            "started_at",
            "ended_at",
            "duration",
            "quality_rating",
            "recording_url",
        ),
        "created_at",
    },
    "vectorstore.ProfileEmbedding": {"user", "model", "created_at", "updated_at"},
    "vectorstore.QuarantinedUser": {"user_id", "reason", "collection", "quarantined_at"},
    "backups.Backup": {
        *("name", "destination", "database", "taken_at", "ended_at", "is_complete", "is_encrypted", "size", "seen_at", "gone_at"),
    },
    "backups.BackupVerification": {
        *("name", "destination", "database", "taken_at", "is_complete", "started_at", "finished_at", "seconds", "restore_seconds", "error"),
    },
    "auth.Group": {"name", "permissions"},
    "privacy.AuditEntry": {"recorded_at", "action", "request_id", "informed_on", "outcome"},
    "privacy.Hold": {"id", "user_id", "section", "article", "until", "set_at", "released_at"},
    "privacy.DataSubjectRequest": {
        *("id", "kind", "processing", "state", "due_on", "first_due_on", "received_on", "user_id", "recorded_at"),
        *("identity_asked_on", "identity_confirmed_on", "identity_method", "extension_informed_on", "extension_reason"),
        *("approved_at", "refusal_ground", "informed_of_remedies", "withdrawal_reason", "stopped_on", "closed_on"),
    },
    "admin.LogEntry": {"action_time", "user", "action_flag", "content_type", "object_id"},
}
"""The fields on the pages of a user who may only view the model, without arrays and JSON."""
SUPERUSER: dict[str, set[str]] = SHOWN | {
    "accounts.User": PERSON | {"is_superuser", "groups", "user_permissions"},
    "privacy.DataSubjectRequest": SHOWN["privacy.DataSubjectRequest"] | {"contact"},
}
ODD_LOOKUPS = ("range", "regex", "iregex", "search", "unaccent", "trigram_similar", "week", "len", "0", "511__gt", "has_key", "isempty", "")


def viewer(model: type[Model], *more: str) -> User:
    return staff(f"{model._meta.app_label}.view_{model._meta.model_name}", *more)


def asking(person: User, model: type[Model], **query: str) -> HttpRequest:
    """Return a request of the user, with the permissions read from the database."""
    request = RequestFactory().get(list_of(model), query)
    request.user = User.objects.get(pk=person.pk)
    return request


def is_allowed(request: HttpRequest, model: type[Model], lookup: str) -> bool:
    """Return whether the list accepts this parameter. An invalid value is another error."""
    return bool(admin.site._registry[model].lookup_allowed(lookup, "x", request))


def names(model: type[Model]) -> list[str]:
    """Return every field of the model, including the reverse relations."""
    return [field.name for field in model._meta.get_fields()]


def test_admins__all_check_the_filters() -> None:
    assert all(isinstance(one, FindmeModelAdmin) for one in admin.site._registry.values())
    deciding = {base.__module__ for one in admin.site._registry.values() for base in type(one).__mro__ if "lookup_allowed" in vars(base)}
    # UserAdmin rejects lookups of the password and calls our check for the others. Our check runs before that of ModelAdmin.
    assert deciding == {"findme.core.admin.model_admin", "django.contrib.auth.admin", "django.contrib.admin.options"}
    assert set(SHOWN) == {model._meta.label for model in admin.site._registry}


def roles(model: type[Model]) -> Iterator[tuple[User, set[str]]]:
    label = model._meta.label
    yield viewer(model), SHOWN[label]
    yield viewer(model, "accounts.view_user"), SHOWN[label]
    yield viewer(model, "accounts.change_user", "vectorstore.view_profileembedding"), SHOWN[label]
    yield superuser(), SUPERUSER[label]


@LISTS
def test_filter__every_field(model: type[Model]) -> None:
    for person, shown in roles(model):
        request = asking(person, model)
        for end in ("", "__exact", "__in", "__isnull"):
            assert {name for name in names(model) if is_allowed(request, model, f"{name}{end}")} == shown
        for lookup in COMPARISONS | PARTS_OF_DATES:
            assert not any(is_allowed(request, model, f"{name}__{lookup}") for name in {*names(model)} - shown)


@LISTS
def test_filter__no_unusual_lookup_and_no_field_of_another_row(model: type[Model]) -> None:
    others = {"email", "password", "vector", "is_superuser", "codename", "status", "metadata", "nonsense"}
    request = asking(superuser(), model)
    for name in names(model):
        for lookup in (*ODD_LOOKUPS, *others):
            assert not is_allowed(request, model, f"{name}__{lookup}"), f"{name}__{lookup}"
            assert not is_allowed(request, model, f"{name}__{lookup}__gt"), f"{name}__{lookup}__gt"


@LISTS
def test_filter__the_list_uses_the_check(model: type[Model]) -> None:
    """Try each field once in Django's change list, as a page does."""
    person = viewer(model)
    model_admin: Any = admin.site._registry[model]
    for name in names(model):
        refused = False
        try:
            model_admin.get_changelist_instance(asking(person, model, **{f"{name}__isnull": "0"}))
        except DisallowedModelAdminLookup:
            refused = True
        assert refused == (name not in SHOWN[model._meta.label]), name


@LISTS
def test_filter__every_choice_of_the_page(model: type[Model]) -> None:
    """The user who sees the filter panel may use each of its links."""
    ROWS[model](1)
    person = viewer(model)
    model_admin: Any = admin.site._registry[model]
    changelist = model_admin.get_changelist_instance(asking(person, model))
    for spec in changelist.filter_specs:
        for choice in spec.choices(changelist):
            chosen = {name: values[0] for name, values in parse_qs(choice["query_string"].removeprefix("?")).items()}
            assert model_admin.get_changelist_instance(asking(person, model, **chosen)).result_list is not None


def test_filter__key_of_a_related_row() -> None:
    match = MatchFactory.create()
    MatchFactory.create()
    client = signed_in(viewer(Match))
    for lookup in ("user", "user_id", "user__exact", "user__id", "user__id__exact", "user__pk", "user__in"):
        assert [row.pk for row in client.get(list_of(Match), {lookup: str(match.user_id)}).context["cl"].result_list] == [match.pk], lookup


def test_filter__parts_of_dates() -> None:
    UserFactory.create()
    client = signed_in(viewer(User))
    found = client.get(list_of(User), {"date_of_birth__year__gte": "1960", "created_at__date__isnull": "0", "email__icontains": "PERSON"})
    assert found.status_code == 200 and len(found.context["cl"].result_list) > 0


def test_filter__bisects_no_vector() -> None:
    embedding = ProfileEmbeddingFactory.create()
    client = signed_in(viewer(ProfileEmbedding))
    for lookup in (
        "vector__511__gt",
        "vector__0__lt",
        "vector__len",
        "vector__contains",
        "vector__isnull",
        "video_features__0__gt",
        "vector",
    ):
        assert client.get(list_of(ProfileEmbedding), {"user__id__exact": embedding.pk, lookup: "0.1"}).status_code == 400, lookup


def test_filter__reveals_no_permissions() -> None:
    permission = Permission.objects.get(codename="erase_user")
    for query in (
        {"is_superuser__exact": "1"},
        {"user_permissions__id__exact": permission.pk},
        {"groups__name": "x"},
        {"password__startswith": "a"},
    ):
        assert signed_in(viewer(User)).get(list_of(User), query).status_code == 400, query
    holder = staff("accounts.erase_user")
    found = signed_in(superuser()).get(list_of(User), {"user_permissions__id__exact": permission.pk})
    assert [row.pk for row in found.context["cl"].result_list] == [holder.pk]
    assert signed_in(superuser()).get(list_of(User), {"password__startswith": "a"}).status_code == 400


@LISTS
def test_order__only_by_sortable_columns(model: type[Model]) -> None:
    model_admin: Any = admin.site._registry[model]
    for person in (viewer(model), superuser()):
        by_default = model_admin.get_changelist_instance(asking(person, model)).queryset.query.order_by
        columns = model_admin.list_display if model_admin.sortable_by is None else model_admin.sortable_by
        for query in ("0", "1", "2", "-3", "4", "5.1", "-6", "7", "8", "-1", "x"):
            order = model_admin.get_changelist_instance(asking(person, model, o=query)).queryset.query.order_by
            by = {str(name).lstrip("-") for name in order} - {"pk"}
            assert by <= {*columns, *(str(name).lstrip("-") for name in by_default)}, query
