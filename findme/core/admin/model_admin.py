"""The base classes of every model admin."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

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
from findme.core.admin.links import Related, can_view
from findme.core.admin.pagination import BoundedChangeList, BoundedPaginator
from findme.core.admin.permissions import grantable_permissions
from findme.core.admin.url_lookups import is_lookup_allowed
from findme.core.admin.uuid_search import parse_uuid, refers_to
from findme.core.values.unreadable import Unreadable

SYSTEM = "Written by the system"
"""The title of the fieldset with the fields that no user types."""

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    class _ModelAdmin(ModelAdmin[M]): ...
else:
    from unfold.admin import ModelAdmin

    class _ModelAdmin(ModelAdmin, Generic[M]): ...


class FindmeModelAdmin(_ModelAdmin[M]):
    """A model admin with lists that read one page, forms that show database errors, and no deletion.

    A cascade in the database deletes rows that Django's confirmation page does not list. Users are deleted by the privacy actions, which reach
    every store.
    """

    form = DatabaseErrorForm
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    show_full_result_count = False
    # A facet counts the whole table.
    show_facets = ShowFacets.NEVER
    ordering: ClassVar[tuple[str, ...]] = ("-created_at",)

    declared_permissions: tuple[str, ...] = ("view", "add", "change")
    """The Django permissions that this admin checks."""

    uuid_lookups: tuple[str, ...] = ("pk",)
    """The lookups that a UUID in the search box is compared with. Each has an index."""

    fixed_fields: tuple[str, ...] = ()
    """Fields that can be set when a row is created, and not changed later."""

    person_columns: dict[str, str | None] = {}
    """Columns with the name of a user, and the column that replaces each if the viewer may not view users (None: no column)."""

    related: tuple[Related, ...] = ()
    change_form_before_template = "admin/core/related.html"

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return BoundedChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Return whether the URL of the list may have this filter. Django allows every field of the model."""
        return is_lookup_allowed(self, request, lookup)

    def get_readonly_fields(self, request: HttpRequest, obj: M | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(self.fixed_fields if obj is not None else ()))

    def get_fieldsets(self, request: HttpRequest, obj: M | None = None) -> Any:
        """Leave out the fields that the system writes from the page of a new row."""
        return [fieldset for fieldset in super().get_fieldsets(request, obj) if obj is not None or fieldset[0] != SYSTEM]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        if can_view(request, get_user_model()):
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
        identifier = parse_uuid(search_term)
        if identifier is not None:
            return queryset.filter(refers_to(identifier, self.uuid_lookups)), False
        return super().get_search_results(request, queryset, search_term)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M | None:
        """Return the row, and lock it if the request saves it.

        The lock prevents that this request overwrites what an erasure or another form commits meanwhile.
        """
        if request.method == "POST" and connection.in_atomic_block:
            self._lock(object_id)
        return super().get_object(request, object_id, from_field or None)  # an empty ``_to_field`` names no field

    def _lock(self, object_id: str) -> None:
        # If the text cannot be a key, super() finds no row and shows that.
        with suppress(ValidationError):
            list(self.model._default_manager.select_for_update(no_key=True).filter(pk=object_id).values_list("pk"))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Give the date input and the time input of one field each its own label, for screen readers."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, SplitDateTimeField):
            for widget, part in zip(field.widget.widgets, ("date", "time"), strict=True):
                widget.attrs["aria-label"] = f"{field.label}: {part}"
        return field

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Use check boxes, which fit on a phone. Show a permission without the names of its app and model."""
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
        """Return the form.

        If the database rejects the row, show the form again with the error, after a rollback.
        """
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (IntegrityError, DataError) as error:
            request.db_error = error  # type: ignore[attr-defined]  # get_form, which is called again, reads it
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Check the deferred constraints now: an error at the commit could not be shown in the form."""
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
                request,
                f"{field.name} is {value.text!r} in the database. Python cannot read it, so lists show the nearest date that it can read.",
            )


class UuidSearchAdmin(FindmeModelAdmin[M]):
    """A list with a search by UUID only: the UUID of the row or of a user.

    Its text columns have no search index.
    """

    search_fields = ("pk",)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[M], search_term: str) -> tuple[QuerySet[M], bool]:
        if search_term and parse_uuid(search_term) is None:
            messages.warning(request, f"{search_term!r} is not a UUID. Search for the user first: the page of the user links to this list.")
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)
