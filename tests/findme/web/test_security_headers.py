"""The headers of every answer: limits for scripts, frames and browser features, and the duration of HSTS."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.support.processes import PRODUCTION, python
from tests.support.staff import signed_in, staff, superuser

pytestmark = pytest.mark.django_db

HSTS = "import django; django.setup(); from django.test import Client; print(Client(headers={'host': 'findme.example'}).get('/', secure=True).headers['Strict-Transport-Security'])"


def headers(client: Client, address: str) -> Any:
    response = client.get(address)
    response.getvalue()  # a static file is open until it is read
    return response.headers


def directives(client: Client, address: str) -> dict[str, list[str]]:
    policy = headers(client, address)["Content-Security-Policy"]
    return {name: values for name, *values in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize("address", ["/", "/admin/", "/admin/login/", "/admin/accounts/user/", "/nonsense", "/static/findme/admin.js"])
def test_headers__of_every_answer(address: str) -> None:
    for client in (Client(), signed_in(superuser()), signed_in(staff())):
        policy = directives(client, address)
        assert policy["script-src"] == ["'self'", "'unsafe-eval'"]
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
        assert not any("*" in value or ":" in value for name, values in policy.items() if name != "img-src" for value in values)
        assert "camera=(), " in headers(client, address)["Permissions-Policy"]


def test_headers__of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.each_context", fail)
    client = signed_in(superuser())
    client.raise_request_exception = False
    response = client.get(reverse("admin:index"))
    assert response.status_code == 500
    assert "unsafe-inline" not in directives(client, reverse("admin:index"))["script-src"]
    assert "geolocation=()" in response.headers["Permissions-Policy"]


def test_pages__have_no_script_of_their_own() -> None:
    """The browser tests find the rest, with Chromium."""
    page = signed_in(superuser()).get(reverse("admin:accounts_user_changelist")).content.decode()
    assert "<script>" not in page and " onclick=" not in page and "javascript:" not in page


@pytest.mark.at_length
@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({}, "max-age=31536000"),
        ({"SECURE_HSTS_INCLUDE_SUBDOMAINS": "on"}, "max-age=31536000; includeSubDomains"),
        ({"SECURE_HSTS_INCLUDE_SUBDOMAINS": "on", "SECURE_HSTS_PRELOAD": "on"}, "max-age=31536000; includeSubDomains; preload"),
    ],
)
def test_hsts__binds_other_hosts_only_where_asked(settings: dict[str, str], header: str) -> None:
    assert python("-W", "ignore", "-c", HSTS, DJANGO_SETTINGS_MODULE="findme.settings", **PRODUCTION, **settings) == (0, f"{header}\n", "")
