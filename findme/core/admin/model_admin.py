"""The base of every model's admin here."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection
from django.db.models import Model, QuerySet
from django.forms import SplitDateTimeField
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.admin.links import Related, may_see
from findme.core.admin.pagination import BoundedChangeList, BoundedPaginator
from findme.core.admin.permissions import grantable_permissions
from findme.core.admin.url_lookups import is_lookup_allowed
from findme.core.admin.uuid_search import refers_to, uuid_in
from findme.core.values.unreadable import Unreadable

SYSTEM = "Written by the system"
"""The title of the fields that nobody types."""

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    class _ModelAdmin(ModelAdmin[M]): ...
else:
    from unfold.admin import ModelAdmin

    class _ModelAdmin(ModelAdmin, Generic[M]): ...


class FindmeModelAdmin(_ModelAdmin[M]):
    """Lists that read a page and no more, forms that tell what the database refuses, and no deleting.

    Nothing is deleted here: a cascade in the database takes along what Django's confirmation page does not list, and people leave by the
    privacy actions, which reach every store.
    """

    form = DatabaseErrorForm
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a facet counts the whole table
    ordering = ("-created_at",)

    declared_permissions: tuple[str, ...] = ("view", "add", "change")
    """The permissions of Django's that decide here."""

    uuid_lookups: tuple[str, ...] = ("pk",)
    """What a UUID typed into the search is compared with. Each has an index."""

    fixed_fields: tuple[str, ...] = ()
    """Asked for when a row is made, and not changed afterwards."""

    person_columns: dict[str, str | None] = {}
    """Columns that show a person's name, each with the column that stands there for somebody who may not look at people (None: none)."""

    related: tuple[Related, ...] = ()
    change_form_before_template = "admin/core/related.html"

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return BoundedChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Whether the list may be filtered by this parameter of its address; Django allows every field of the model."""
        return is_lookup_allowed(self, request, lookup)

    def get_readonly_fields(self, request: HttpRequest, obj: M | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(self.fixed_fields if obj is not None else ()))

    def get_fieldsets(self, request: HttpRequest, obj: M | None = None) -> Any:
        """A row that is still to be made has nothing that the system wrote."""
        return [fieldset for fieldset in super().get_fieldsets(request, obj) if obj is not None or fieldset[0] != SYSTEM]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        if may_see(request, get_user_model()):
            return list(columns)
        return [shown for shown in (self.person_columns.get(str(column), column) for column in columns) if shown is not None]

    def response_action(self, request: HttpRequest, queryset: QuerySet[M], *args: Any) -> HttpResponse | None:
        """Run the chosen action, unless one of the selected keys cannot be a key of the model."""
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.to_python(key)
            except ValidationError:
                messages.error(
                    request, f"{key[:40]!r} cannot be the key of a {self.opts.verbose_name}: nothing was done. Select rows in the list."
                )
                return None
        return super().response_action(request, queryset, *args)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[M], search_term: str) -> tuple[QuerySet[M], bool]:
        identifier = uuid_in(search_term)
        if identifier is not None:
            return queryset.filter(refers_to(identifier, self.uuid_lookups)), False
        return super().get_search_results(request, queryset, search_term)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M | None:
        """The row; locked where it is about to be saved, so that what an erasure or another form commits meanwhile is not written over."""
        if request.method == "POST" and connection.in_atomic_block:
            self._lock(object_id)
        return super().get_object(request, object_id, from_field or None)  # an empty ``_to_field`` names no field

    def _lock(self, object_id: str) -> None:
        with suppress(ValidationError):  # no key at all: super() finds nothing, and says so
            list(self.model._default_manager.select_for_update(no_key=True).filter(pk=object_id).values_list("pk"))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A date and a time stand in two fields, and the label belongs to neither: each says what it is."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, SplitDateTimeField):
            for widget, part in zip(field.widget.widgets, ("date", "time"), strict=True):
                widget.attrs["aria-label"] = f"{field.label}: {part}"
        return field

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A list to tick, which fits on a phone: of a permission it shows the sentence, without the names of app and model before it."""
        of_permissions = db_field.related_model is Permission
        kwargs |= {"widget": UnfoldAdminCheckboxSelectMultipleWidget()} | ({"queryset": grantable_permissions()} if of_permissions else {})
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if of_permissions:
            field.label_from_instance = attrgetter("name")
        return field

    def get_form(self, request: HttpRequest, obj: M | None = None, change: bool = False, **kwargs: Any) -> type[Any]:
        form: type[Any] = super().get_form(request, obj, change=change, **kwargs)
        form.db_error = getattr(request, "db_error", None)
        return form

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; and once more, with the reason, where the database refuses it. Its transaction is rolled back by then."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (IntegrityError, DataError) as error:
            request.db_error = error  # type: ignore[attr-defined]  # for get_form, which is asked again
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The deferred constraints are checked now, while there is a form to tell it, and not by the commit."""
        super().save_related(request, form, formsets, change)
        connection.check_constraints()

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> HttpResponse:
        if context.get("original") is not None:
            shown = (related.shown(request, context["original"]) for related in self.related)
            context["related"] = [link for link in shown if link is not None]
            _warn_of_unreadable_dates(request, context["original"])
        return super().render_change_form(request, context, *args, **kwargs)


def _warn_of_unreadable_dates(request: HttpRequest, row: Model) -> None:
    for field in row._meta.concrete_fields:
        if isinstance(value := row.__dict__.get(field.attname), Unreadable):
            messages.warning(
                request, f"{field.name} is {value.text!r} in the database. Python cannot read it: lists show the nearest date that it can."
            )


class UuidSearchAdmin(FindmeModelAdmin[M]):
    """A list that is searched by UUID only: its own, or that of a person; its texts have no index to be searched by."""

    search_fields = ("pk",)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[M], search_term: str) -> tuple[QuerySet[M], bool]:
        if search_term and uuid_in(search_term) is None:
            messages.warning(request, f"{search_term!r} is not a UUID. Find the person first: their page leads here.")
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)
