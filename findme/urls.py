from typing import NoReturn

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import path
from django.views.generic import RedirectView

from accounts.admin.password_change import change_own_password
from privacy.views.export_link import export_page


def no_such_page(_request: HttpRequest, **_parts: str) -> NoReturn:
    raise Http404("There is no such page.")


handler500 = "findme.web.error_pages.server_error"
urlpatterns = [
    # Two views of Django that nothing here uses: "view on site", and the suggestions for ``autocomplete_fields``.
    path("admin/r/<path:rest>", no_such_page),
    path("admin/autocomplete/", no_such_page),
    path("admin/password_change/", change_own_password),  # replaces Django's view admin:password_change
    path("admin/", admin.site.urls),
    path("privacy/export/<str:token>", export_page),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
