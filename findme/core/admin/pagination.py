"""A page of a list costs the same in a table of ten rows and in one of ten million."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.db import DataError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList

    _Paginator = Paginator[Any]
else:
    from unfold.views import ChangeList

    _Paginator = Paginator


COUNTED = 1_000
"""How far anything is counted: PostgreSQL stops reading there."""


def bounded_count(rows: QuerySet[Any]) -> int:
    """The number of ROWS, or one more than ``COUNTED``."""
    return rows.order_by()[: COUNTED + 1].count()


class BoundedPaginator(_Paginator):
    """Shows the first ``COUNTED`` rows. What lies beyond is found by searching or filtering."""

    counted = COUNTED
    template_name = "admin/core/pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return bounded_count(rows)

    @cached_property
    def count(self) -> int:
        return min(self._counted, COUNTED)

    def page(self, number: int | str) -> Page[Any]:
        """The keys first, and then the rows with what is joined to them.

        In one query, PostgreSQL joins before it sorts where many rows are of one ``created_at``, as one COPY makes them: 1.9 s for a million
        calls, 0.2 s in this way.
        """
        number = self.validate_number(number)
        rows: Any = self.object_list
        first = (number - 1) * self.per_page
        keys = list(rows.values_list("pk", flat=True)[first : min(first + self.per_page, COUNTED)])
        return Page(rows.filter(pk__in=keys), number, self)

    @property
    def has_more(self) -> bool:
        """Whether there are rows beyond those that the pages show."""
        return self._counted > COUNTED


class BoundedChangeList(ChangeList):
    """Reads a page, and never the whole table."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Raise BadRequest for a page that does not exist, and for a filter whose value the field cannot have.

        Django finds some of these values when it builds the query, some when it runs it (``year=0``), and would show the list without the
        filter or fail.
        """
        try:
            super().__init__(request, *args, **kwargs)
        except (IncorrectLookupParameters, DataError, ValueError, OverflowError) as error:
            if not request.GET:
                raise
            raise BadRequest(
                "The address of a list has a page that does not exist, or a filter with a value that its field cannot have"
            ) from error

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return the field to order by; None for a column that ``sortable_by`` leaves out, also where the address asks for it."""
        return super().get_ordering_field(field_name) if self.sortable_by is None or field_name in self.sortable_by else None

    def get_results(self, request: HttpRequest) -> None:
        """Where all fits on one page, Django reads without a limit."""
        super().get_results(request)
        self.full_result_count = self.result_count  # or unfold would write "1000 results" at the top, where there are more
        if not self.multi_page:
            self.result_list = self.paginator.page(1).object_list
