"""Error pages in light and dark, and the Content-Security-Policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import OperationalError
from django.http import HttpRequest
from django.urls import reverse
from playwright.sync_api import Browser, Page, Response, ViewportSize, expect
from psycopg import errors

from accounts.login.hash_limit import HASH_LIMIT
from tests.browser.admin_pages import OFFICER, log_in
from tests.chromium import DESKTOP, PATIENCE, TELL_VIOLATIONS, photograph
from tests.findme.web.test_error_pages import PAGES
from tests.support.staff import staff

NARROW: ViewportSize = {"width": 360, "height": 740}
Looks = tuple[tuple[str, ViewportSize], ...]
EVERY_LOOK: Looks = (("light", DESKTOP), ("dark", DESKTOP), ("light", NARROW), ("dark", NARROW))

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(chromium: Browser, live_server: object) -> Iterator[Page]:
    """Return a page that may have errors. The browser logs each answer of 400 and above to its console."""
    context = chromium.new_context(viewport=DESKTOP, base_url=str(live_server))
    context.set_default_timeout(PATIENCE)
    context.add_init_script(TELL_VIOLATIONS)
    yield context.new_page()
    context.close()


def fail(error: Exception) -> object:
    def view(_request: HttpRequest, *_arguments: object, **_options: object) -> None:
        raise error

    return view


def unavailable() -> OperationalError:
    error = OperationalError("starting up")
    error.__cause__ = errors.CannotConnectNow("starting up")
    return error


@pytest.mark.at_length
@pytest.mark.parametrize("looks", [EVERY_LOOK[::3], pytest.param(EVERY_LOOK, marks=pytest.mark.at_length)], ids=["two", "every"])
def test_error_pages__light_and_dark(page: Page, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    violations: list[str] = []
    page.on("console", lambda message: violations.append(message.text) if "CSP" in message.text else None)
    staff("accounts.view_user", "matching.view_match", "calls.view_videocall", email=OFFICER)
    log_in(page)
    users = reverse("admin:accounts_user_changelist")
    monkeypatch.setattr("matching.admin.MatchAdmin.get_queryset", fail(LookupError("a defect")))
    monkeypatch.setattr("calls.admin.VideoCallAdmin.get_queryset", fail(unavailable()))
    addresses = {
        "400": f"{users}?is_superuser__exact=1",
        "403": reverse("admin:videos_video_changelist"),
        "404": "/nonsense",
        "500": reverse("admin:matching_match_changelist"),
        "503": reverse("admin:calls_videocall_changelist"),
    }
    found: dict[str, list[str]] = {}
    for name, address in addresses.items():
        page.goto(address)
        expect(page.get_by_role("heading", name=PAGES[name])).to_be_visible()
        look(page, name, looks, found)
    page.goto(users)
    page.context.clear_cookies(name="csrftoken")
    page.locator("#user-menu-button").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name=PAGES["403_csrf"])).to_be_visible()
    look(page, "403_csrf", looks, found)
    assert found == {}
    page.get_by_role("link", name="Back to the start").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    assert violations == []


def look(page: Page, name: str, looks: Looks, found: dict[str, list[str]]) -> None:
    """Add the problems of the page to ``found``, in light and dark, on a desktop and on a narrow phone."""
    for scheme, size in looks:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        examine(page, f"error {name} {scheme}", found)
    page.set_viewport_size(DESKTOP)


def examine(page: Page, name: str, found: dict[str, list[str]]) -> None:
    """Add the problems that axe-core finds, and a page that is wider than the window."""
    photograph(page, name)
    wrong = [one["id"] for one in Axe().run(page).response["violations"]]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        wrong.append("wider than the window")
    if wrong:
        found[f"{name} {page.evaluate('window.innerWidth')}"] = wrong


def refuse_logins(page: Page) -> None:
    """Post a login as the form does, and show the answer."""
    page.goto(reverse("admin:login"))
    page.get_by_label(re.compile("E-?mail", re.IGNORECASE)).fill("unknown@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()


@pytest.mark.at_length
@pytest.mark.parametrize("status", [429, 503])
def test_refused_login__light_and_dark(page: Page, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers for a locked account and for too many logins at once."""
    if status == 429:
        monkeypatch.setattr("accounts.login.attempts.time_to_wait", lambda _account, _network: timedelta(minutes=15))
    else:
        monkeypatch.setattr("accounts.login.hash_limit.MAX_WAITING", 0)
        monkeypatch.setattr(HASH_LIMIT, "_inside", {"127.0.0.1"})
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if response.request.method == "POST" else None)
    refuse_logins(page)
    wait = "15 minutes" if status == 429 else "5 seconds"
    expect(page.get_by_role("alert")).to_contain_text(f"Try again in {wait}.")
    assert [(one.status, one.headers["retry-after"]) for one in answers] == [(status, "900" if status == 429 else "5")]
    found: dict[str, list[str]] = {}
    for theme, size in EVERY_LOOK:
        page.set_viewport_size(size)
        page.emulate_media(reduced_motion="reduce")
        page.evaluate("theme => Alpine.$data(document.documentElement).switchTheme(theme)", theme)
        expect(page.locator("html")).to_have_class(theme)
        examine(page, f"login {status} {theme}", found)
    assert found == {}
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Back to the login").press("Enter")
    expect(page.get_by_label("Password")).to_be_visible()


def test_policy__blocks_a_script_in_the_page(page: Page) -> None:
    """The listener of the browser tests reports the violation. Otherwise its silence would prove nothing."""
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.goto(reverse("admin:login"))
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        const button = document.createElement("button");
        button.setAttribute("onclick", "window.ran = true");
        document.body.append(button);
        button.click();
        const image = document.createElement("img");
        image.src = "http://localhost:9/x.png";
        document.body.append(image);
    }""")
    page.wait_for_function("() => true")
    assert page.evaluate("() => window.ran") is None
    reported = " ".join(text for text in heard if text.startswith("CSP: "))
    assert "script-src-elem inline" in reported and "script-src-attr inline" in reported and "img-src http://localhost:9/x.png" in reported
