"""The page of a link: GET changes nothing, POST downloads once, and no answer, header or log has more than it must."""

from __future__ import annotations

import io
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from findme.web.request_log import Stderr
from privacy.actions.export_link import make_export_link
from privacy.admin.actions import EXPORT
from privacy.admin.view import page_url
from privacy.models import KeptExport
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.kept_exports.conftest import folder as folder
from tests.privacy.kept_exports.rows import change, token_of
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.privacy.test_commands import run
from tests.support.commands import manage_here, refused
from tests.support.staff import said, signed_in, staff

pytestmark = pytest.mark.django_db(transaction=True)

OVER = "It was used, it has expired, or it is not complete."


@pytest.fixture
def browser() -> Client:
    return Client(enforce_csrf_checks=True)


def content_of(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def require_private(response: Any) -> None:
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response.headers["Cache-Control"]
    assert "noindex" in response.headers["X-Robots-Tag"]
    assert set(response.headers["Content-Security-Policy"].split("; ")) == {
        *("default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"),
    }
    assert not response.cookies


def test_page__shows_a_button_and_changes_nothing(shelf: Shelf, browser: Client) -> None:
    link = make_export_link(full_life().pk)
    for ask in (browser.get, browser.get, browser.head):
        response = ask(link.path)
        assert response.status_code == 200
        require_private(response)
    text = browser.get(link.path).content.decode()
    assert '<form method="post">' in text
    assert f"{link.expires_at:%-d %B %Y, %H:%M} UTC" in text
    assert token_of(link) not in text and str(link.user_id) not in text and "<script" not in text
    response = browser.post(link.path)
    assert response.status_code == 200
    require_private(response)
    assert response.headers["Content-Disposition"] == 'attachment; filename="personal-data.zip"'
    content = content_of(response)
    assert len(content) == int(response.headers["Content-Length"]) == link.size
    assert ZipFile(io.BytesIO(content)).testzip() is None


def test_page__used_expired_and_unknown_links_look_the_same(shelf: Shelf, browser: Client) -> None:
    used, expired = (make_export_link(UserFactory.create().pk) for _ in range(2))
    content_of(browser.post(used.path))
    change(expired.export_id, expires_at=timezone.now() - timedelta(seconds=1))
    answers = [
        ask(path)
        for path in (used.path, expired.path, "/privacy/export/x", "/privacy/export/" + "A" * 43)
        for ask in (browser.get, browser.post)
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert OVER in answer.content.decode()
        require_private(answer)
    assert len({answer.content for answer in answers}) == 1


def test_page__another_method(shelf: Shelf, browser: Client) -> None:
    link = make_export_link(UserFactory.create().pk)
    response = browser.delete(link.path)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert browser.get(link.path).status_code == 200


def test_page__folder_unavailable(shelf: Shelf, browser: Client, folder: Path) -> None:
    link = make_export_link(UserFactory.create().pk)
    folder.rename(folder.with_name("away"))
    response = browser.post(link.path)
    assert response.status_code == 503
    assert "The link still works." in response.content.decode()
    require_private(response)
    folder.with_name("away").rename(folder)
    assert content_of(browser.post(link.path))


def test_logs__do_not_have_the_token(shelf: Shelf, browser: Client, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:

    handler = Stderr()
    token = token_of(make_export_link(UserFactory.create().pk))
    logging.getLogger().addHandler(handler)
    try:
        browser.delete(f"/privacy/export/{token}")
        content_of(browser.post(f"/privacy/export/{token}"))
        browser.get(f"/privacy/export/{token}")
        logging.getLogger("django.server").warning('"%s" %s %s', f"GET /privacy/export/{token} HTTP/1.1", "404", "1")
    finally:
        logging.getLogger().removeHandler(handler)
    written = capsys.readouterr().err
    assert token[:10] not in written
    assert "/privacy/export/..." in written


# --- Command ----------------------------------------------------------------------------------------------------------------------


def test_command__prints_the_link_once(shelf: Shelf, browser: Client, settings: Settings) -> None:
    settings.SITE_URL = "https://findme.example"
    person = full_life()
    printed, err = run("export_user", person.email, "--link")
    assert err == ""
    url, line = printed.splitlines()
    assert url.startswith("https://findme.example/privacy/export/")
    assert line.startswith("The link works once, until ") and line.endswith(f"bytes about {person.pk}.")
    assert content_of(browser.post(url.removeprefix("https://findme.example")))


def test_command__json(shelf: Shelf, settings: Settings) -> None:
    settings.SITE_URL = ""
    person = full_life()
    found = json.loads(run("export_user", person.pk, "--link", "--json")[0])
    assert found["user_id"] == str(person.pk)
    assert found.keys() == {"user_id", "export_id", "url", "expires_at", "size"}
    assert found["url"].startswith("/privacy/export/")
    _, err = run("export_user", person.pk, "--link")
    assert err == "SITE_URL is not set, so the link has no host: put the address of your site before it.\n"


def test_command__dry_run_makes_none(shelf: Shelf, folder: Path) -> None:
    printed, _ = run("export_user", full_life().pk, "--link", "--dry-run")
    assert (KeptExport.objects.count(), list(folder.iterdir())) == (0, [])
    assert printed.startswith(f"{folder}: would contain the data of ")


def test_command__wrong_options(shelf: Shelf) -> None:
    person = UserFactory.create()
    assert refused("export_user", person.pk, "--output", "x.zip", "--request", person.pk).startswith(
        "--request needs --link: nothing was exported."
    )
    assert "has no request" in refused("export_user", person.pk, "--link", "--request", person.pk)
    for options in ([], ["--link", "--output", "x.zip"], ["--link", "--request", "x"]):
        assert manage_here("export_user", person.pk, *options)[0] == 2


# --- Admin ------------------------------------------------------------------------------------------------------------------------


def test_admin__shows_the_link_once(shelf: Shelf, browser: Client) -> None:
    person, officer = full_life(), staff("accounts.view_user", "accounts.export_personal_data")
    client = signed_in(officer)
    assert 'name="link"' in client.get(page_url(EXPORT, [person.pk])).content.decode()
    response = client.post(page_url(EXPORT, [person.pk]), {"link": "1"})
    assert "no-store" in response.headers["Cache-Control"]
    url = response.context["url"]
    assert url in response.content.decode()
    assert url.startswith("http://testserver/privacy/export/")
    assert content_of(browser.post(url.removeprefix("http://testserver")))
    assert audited()[0] == ("export", officer.pk, person.pk, "done")
    assert KeptExport.objects.get().made_by_id == officer.pk


def test_admin__limit_is_reported(shelf: Shelf, settings: Settings) -> None:
    settings.EXPORTS_PER_DAY = 1
    person = UserFactory.create()
    client = signed_in(staff("accounts.view_user", "accounts.export_personal_data"))
    client.post(page_url(EXPORT, [person.pk]), {"link": "1"})
    response = client.post(page_url(EXPORT, [person.pk]), {"link": "1"})
    (message,) = said(response)
    assert "had 1 exports in 24 hours" in message


def test_admin__without_permission(shelf: Shelf) -> None:
    client = signed_in(staff("accounts.view_user"))
    assert client.post(page_url(EXPORT, [UserFactory.create().pk]), {"link": "1"}).status_code == 403


def test_admin__several_users__have_no_link(shelf: Shelf) -> None:
    users = [UserFactory.create().pk for _ in range(2)]
    client = signed_in(staff("accounts.view_user", "accounts.export_personal_data"))
    assert 'name="link"' not in client.get(page_url(EXPORT, users)).content.decode()
    response = client.post(page_url(EXPORT, users), {"link": "1"})
    assert response.headers["Content-Type"] == "application/zip"
    response.close()
    assert KeptExport.objects.count() == 0
