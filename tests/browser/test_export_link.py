"""The link of an export in Chromium: the admin shows it, its page downloads the zip once, and nothing breaks its policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from privacy.admin.actions import EXPORT
from privacy.admin.view import page_url
from tests.browser.admin_pages import OFFICER, log_in
from tests.browser.test_error_pages import look
from tests.chromium import DESKTOP, PATIENCE, TELL_VIOLATIONS
from tests.privacy.kept_exports.conftest import folder as folder
from tests.support.staff import staff

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.django_db(transaction=True)]

LOOKS = (("light", DESKTOP), ("dark", DESKTOP))


@pytest.fixture
def visitor(chromium: Browser, live_server: object) -> Iterator[Page]:
    """Return a page of the data subject, who has no session."""
    context = chromium.new_context(viewport=DESKTOP, base_url=str(live_server), accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(TELL_VIOLATIONS)
    yield context.new_page()
    context.close()


@pytest.mark.at_length
def test_link__from_the_admin_to_the_download(page: Page, visitor: Page, person: User, folder: Path, tmp_path: Path) -> None:
    violations: list[str] = []
    visitor.on("console", lambda message: violations.append(message.text) if "CSP" in message.text else None)
    staff("accounts.view_user", "accounts.export_personal_data", email=OFFICER)
    log_in(page)
    page.goto(page_url(EXPORT, [person.pk]))
    page.get_by_role("button", name="Create a link for the user").click()
    url = page.locator("#export-link").inner_text()
    problems: dict[str, list[str]] = {}
    look(page, "admin export link", LOOKS, problems)

    visitor.goto(url)
    expect(visitor.get_by_role("heading", name="Your personal data")).to_be_visible()
    look(visitor, "export link", LOOKS, problems)
    visitor.reload()
    with visitor.expect_download() as download:
        visitor.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "personal-data.zip")
    with ZipFile(tmp_path / "personal-data.zip") as archive:
        assert archive.testzip() is None
        archive.extract("README.html", tmp_path)
    assert list(folder.iterdir()) == []

    visitor.goto(url)
    expect(visitor.get_by_role("heading", name="This link does not work")).to_be_visible()
    look(visitor, "export link over", LOOKS, problems)
    visitor.goto(f"file://{tmp_path / 'README.html'}")
    expect(visitor.get_by_role("heading", name="Your personal data", exact=True)).to_be_visible()
    look(visitor, "export readme", LOOKS, problems)
    assert problems == {}
    assert violations == []
    assert visitor.context.cookies() == []
