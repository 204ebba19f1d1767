"""The error pages: each explains the error and links back, and none needs the database."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.urls import reverse
from psycopg import errors

from tests.support.database import django_error
from tests.support.processes import PRODUCTION, python
from tests.support.staff import signed_in, superuser

PAGES = {
    "400": "This request cannot be answered",
    "403": "You may not open this page",
    "403_csrf": "The form was not accepted",
    "404": "There is no such page",
    "500": "FindMe made an error",
    "503": "The database is unavailable",
}
LOST = """
import django; django.setup()
from django.test import Client
client = Client(headers={"host": "findme.example"}, raise_request_exception=False)
client.cookies["sessionid"] = "0123456789abcdefghijklmnopqrstuv"
for method, address in (("get", "/admin/"), ("get", "/admin/accounts/user/?email=secret"), ("post", "/admin/login/")):
    response = getattr(client, method)(address, {"username": "a@example.com", "password": "secret"} if method == "post" else None, secure=True)
    print(response.status_code, response.headers.get("Retry-After"), "The database is unavailable" in response.content.decode())
print(Client(headers={"host": "findme.example"}).get("/nonsense", secure=True).status_code)  # without a session
"""


@pytest.mark.parametrize(("name", "heading"), PAGES.items())
def test_page__needs_neither_a_database_nor_a_request(name: str, heading: str) -> None:
    """pytest-django rejects every query in this test."""
    page = render_to_string(f"{name}.html")
    assert f"<h1>{heading}</h1>" in page and f"Error {name[:3]}" in page
    assert f'href="{reverse("admin:index")}"' in page and 'href="/static/findme/error.css"' in page
    assert f"<h1>{heading}</h1>" in render_to_string(f"{name}.html", request=RequestFactory().get("/"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("raised", "status"),
    [(BadRequest("x"), 400), (SuspiciousOperation("x"), 400), (PermissionDenied(), 403), (Http404(), 404), (LookupError("x"), 500)],
)
def test_answer__is_the_page(raised: Exception, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise raised

    client = signed_in(superuser())
    client.raise_request_exception = False
    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.each_context", fail)
    response = client.get(reverse("admin:index"))
    assert response.status_code == status
    assert PAGES[str(status)] in response.content.decode()


@pytest.mark.django_db
def test_answer__to_a_form_without_its_token() -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post(reverse("admin:login"), {"username": "a@example.com", "password": "x"})
    assert response.status_code == 403 and PAGES["403_csrf"] in response.content.decode()


@pytest.mark.at_length
def test_postgresql_unavailable__one_line_a_request() -> None:
    """In separate processes, with production settings and a server that does not exist."""
    code, out, err = python("-c", LOST, DJANGO_SETTINGS_MODULE="findme.settings", **PRODUCTION)
    assert (code, out) == (0, "503 30 True\n503 30 True\n503 30 True\n404\n")
    lines = [line for line in err.splitlines() if "PostgreSQL" in line]
    assert len(lines) == 3 and all(" ERROR findme.web.error_pages: PostgreSQL is unavailable: " in line for line in lines)
    assert "GET '/admin/accounts/user/': " in lines[1] and "POST '/admin/login/': " in lines[2]
    assert "Traceback" not in err and "secret" not in err and "example.com" not in err


@pytest.mark.django_db
def test_postgresql_unavailable__noticed_by_a_middleware(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A session is saved after the view."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise django_error(psycopg.OperationalError("server closed the connection unexpectedly"))

    client = signed_in(superuser())
    client.raise_request_exception = False
    monkeypatch.setattr("django.contrib.sessions.middleware.SessionMiddleware.process_response", fail)
    with caplog.at_level(logging.INFO):
        response = client.get(reverse("admin:index"))
    assert response.status_code == 503 and PAGES["503"] in response.content.decode()
    assert [record.getMessage() for record in caplog.records] == [
        "PostgreSQL is unavailable: GET '/admin/': server closed the connection unexpectedly"
    ]
    assert caplog.records[0].exc_info is None


@pytest.mark.django_db
def test_postgresql_unavailable__while_the_template_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise django_error(errors.AdminShutdown("terminating connection due to administrator command"))

    client = signed_in(superuser())
    monkeypatch.setattr("django.template.response.SimpleTemplateResponse.rendered_content", property(fail))
    assert client.get(reverse("admin:index")).status_code == 503


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/admin/login/", "/admin/login/?next=", "/admin/login/?next=//evil.example/"])
def test_login__without_an_address_leads_to_the_admin(address: str) -> None:
    from tests.factories import PASSWORD
    from tests.support.html_form import fields_of

    person, client = superuser(), Client()
    posted: dict[str, Any] = fields_of(client.get(address)) | {"username": person.email, "password": PASSWORD}
    response = client.post(address, posted, follow=True)
    assert response.redirect_chain[-1][0] == reverse("admin:index")
    assert response.status_code == 200 and "_auth_user_id" in client.session
    assert settings.LOGIN_REDIRECT_URL == "admin:index"


def test_handlers__are_ours() -> None:
    from findme import urls
    from findme.web.error_pages import server_error

    assert urls.handler500 == f"{server_error.__module__}.{server_error.__name__}"
    assert isinstance(server_error(HttpRequest()).content, bytes)
