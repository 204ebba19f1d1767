"""A headless Chromium for tests with the marker ``browser``. Without it they are skipped, and the last lines of the run show how many.

It connects only to this machine: a page that requests another host fails its test.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.db import connections

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Response, ViewportSize

NO_BROWSER = "no program chromium on the PATH"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
HERE = {"127.0.0.1", "localhost", "[::1]"}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`))
"""
"""A violation of the Content-Security-Policy counts as an error of the page, like every error on the console."""
PATIENCE = 20_000
"""Milliseconds for each action of a page. It is long because other runs share the machine."""


def program() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if program() is not None:
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Print after all other lines at the end of the run."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if NO_BROWSER in str(report.longrepr)]
    if skipped:
        reporter.write_line(f"{len(skipped)} browser tests skipped: {NO_BROWSER} (apt-get install chromium)")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hide Playwright's event loop from every test that does not use the browser, from its first fixture to its last.

    The synchronous interface of Playwright leaves its loop marked as running in this thread. There ``asyncio.run`` would fail, and Django's
    ``connections`` would give a second connection: a test and its transaction would not share one.
    """
    if "chromium" in getattr(item, "fixturenames", ()):
        result = yield
        connections.close_all()
        return result
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return (yield)
    finally:
        asyncio._set_running_loop(running)


@pytest.fixture(scope="session")
def chromium(django_db_setup: None) -> Iterator[Browser]:
    """One browser for each process that runs tests. It ends before the test database is dropped.

    Playwright keeps an event loop in this thread, in which Django would refuse to query the database.
    """
    from playwright.sync_api import expect, sync_playwright  # imported here, because most runs have no browser test

    expect.set_options(timeout=PATIENCE)
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        path = program()
        assert path is not None, NO_BROWSER
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(ARGUMENTS))
        yield browser
        browser.close()
        connections.close_all()  # the connections of the thread in which the loop runs


@pytest.fixture(params=["desktop"])
def page(request: pytest.FixtureRequest, chromium: Browser, live_server: object) -> Iterator[Page]:
    """A page of a new browser context. With the parameter ``phone`` it has a small touch screen."""
    phone = request.param == "phone"
    context = chromium.new_context(
        viewport=PHONE if phone else DESKTOP, has_touch=phone, is_mobile=phone, base_url=str(live_server), accept_downloads=True
    )
    context.set_default_timeout(PATIENCE)
    elsewhere: list[str] = []
    wrong: list[str] = []

    def look(request: Request) -> None:
        if urlsplit(request.url).hostname not in HERE:
            elsewhere.append(request.url)

    def look_at_answer(response: Response) -> None:
        if response.request.resource_type == "document" and "content-security-policy" not in response.headers:
            wrong.append(f"no Content-Security-Policy: {response.url}")

    context.add_init_script(TELL_VIOLATIONS)
    context.on("response", look_at_answer)
    context.on("request", look)  # a route would also work, but it disables the cache: every page would fetch every file again
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type == "error" and "favicon.ico" not in str(message.location) else None,
    )
    yield page
    context.close()
    assert elsewhere == [], "the page asks for something that is not of this machine"
    assert wrong == [], "the page has errors of its own"


def photograph(page: Page, name: str) -> None:
    """Write a screenshot of the complete page to the folder PHOTOGRAPHS, if it is set. The file has ``name`` and the page's width."""
    if (folder := os.environ.get("PHOTOGRAPHS")) and page.viewport_size:
        page.screenshot(path=Path(folder) / f"{name} {page.viewport_size['width']}.png", full_page=True)
