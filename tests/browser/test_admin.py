"""The admin as a privacy officer uses it, in a real browser."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.browser.admin_pages import OFFICER, log_in, pages
from tests.chromium import DESKTOP, PHONE, photograph
from tests.privacy.life import BIO, EMAIL, FULL_NAME
from tests.support.staff import staff, superuser
from vectorstore.sync.inline import point_of

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.django_db(transaction=True)]

RIGHTS = (
    "accounts.view_user",
    "accounts.export_personal_data",
    "accounts.anonymize_user",
    "accounts.soft_delete_user",
    "accounts.erase_user",
)
BOTH = pytest.mark.parametrize("page", ["desktop", "phone"], indirect=True)


def find(page: Page, words: str) -> None:
    page.goto(reverse("admin:accounts_user_changelist"))
    page.get_by_label("Search").fill(words)
    page.keyboard.press("Enter")
    page.wait_for_url("**q=**")


def open_action(page: Page, title: str) -> None:
    """Open the action by the link on a user's page."""
    page.get_by_role("link", name=title, exact=True).click()
    page.wait_for_url("**/privacy/**")


@pytest.mark.at_length("phone")
@BOTH
def test_officer__finds_exports_and_anonymizes_a_user(page: Page, person: User, tmp_path: Path) -> None:
    staff(*RIGHTS, email=OFFICER)
    page.goto("/")
    photograph(page, "1-login")
    log_in(page)
    photograph(page, "2-index")

    find(page, "wilhel quux")
    photograph(page, "3-list")
    page.get_by_role("link", name=FULL_NAME).click()
    expect(page.get_by_text(BIO)).to_be_visible()
    photograph(page, "4-person")

    open_action(page, "Export personal data")
    expect(page.get_by_role("row", name="videos.json 2")).to_be_visible()
    photograph(page, "5-export")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export personal data").click()
    download = downloading.value
    assert download.suggested_filename == f"personal-data-{person.pk}.zip"
    download.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert json.loads(archive.read("profile.json"))["email"] == EMAIL
        assert json.loads(archive.read("vector_store.json"))["point"]["payload"]["user_id"] == str(person.pk)

    page.get_by_role("link", name="Cancel").click()
    open_action(page, "Anonymize")
    expect(page.get_by_role("row", name="points in the vector store 1 deleted")).to_be_visible()
    photograph(page, "6-anonymize")
    assert User.objects.get(pk=person.pk).email == EMAIL
    page.get_by_role("button", name="Anonymize").click()
    expect(page.get_by_text(f"Anonymized: {person.pk}.")).to_be_visible()
    expect(page.get_by_text("Deleted User").first).to_be_visible()
    photograph(page, "7-anonymized")
    assert EMAIL.lower() not in page.content().lower()

    find(page, str(person.pk))
    expect(page.get_by_role("row", name=re.compile("Deleted User.*anonymized", re.IGNORECASE | re.DOTALL))).to_be_visible()
    assert point_of(person.pk) is None


@pytest.mark.at_length
def test_officer__deletes_several_users_for_good(page: Page, person: User) -> None:
    staff(*RIGHTS, email=OFFICER)
    log_in(page)
    page.goto(reverse("admin:accounts_user_changelist"))
    others = [str(pk) for pk in User.objects.members().exclude(pk=person.pk).order_by("-created_at").values_list("pk", flat=True)[:2]]
    for pk in (str(person.pk), *others):
        page.locator(f"input.action-select[value='{pk}']").check()
    photograph(page, "1-selected")
    page.get_by_label("Select action to run").select_option(label="Delete for good")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/privacy/erase/**")
    photograph(page, "2-erase")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_label("To confirm")).to_be_focused()  # it is required
    page.get_by_label("To confirm").fill("delete 4 users")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("alert")).to_have_text("Your text does not match the requested text: nothing was deleted.")
    photograph(page, "3-wrong-words")
    page.get_by_label("To confirm").fill("delete 3 users")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Deleted for good:")).to_be_visible()
    photograph(page, "4-erased")
    assert not User.objects.filter(pk__in=[person.pk, *others]).exists()


SOME = ("index", "list accounts_user", "page accounts_user", "new matching_match", "erase")
NAMELESS = """
() => [...document.querySelectorAll('input, select, textarea, button')]
    .filter(field => field.type !== 'hidden' && field.checkVisibility({visibilityProperty: true}))
    .filter(field => !(field.labels?.length || field.getAttribute('aria-label') || field.title || field.innerText?.trim() || field.value && field.type === 'submit'))
    .map(field => field.outerHTML.slice(0, 120))
"""
"""Visible fields and buttons without a name for a screen reader."""


@pytest.mark.at_length
@pytest.mark.parametrize("kinds", [SOME, None], ids=["some_kinds", "every_kind"])
@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_every_page__fits_and_has_labels(page: Page, person: User, kinds: tuple[str, ...] | None) -> None:
    """Check each page on a phone and on a desktop. The fixtures check that it loads only local files and has no errors."""
    superuser(email=OFFICER)
    log_in(page)
    wanting: dict[str, object] = {}
    for name, address in pages(person).items():
        if kinds is not None and name not in kinds:
            continue
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            if size == DESKTOP:
                response = page.goto(address)
                assert response is not None and response.status == 200, address
            photograph(page, name)
            too_wide = page.evaluate("document.documentElement.scrollWidth") - size["width"]
            nameless = page.evaluate(NAMELESS)
            if too_wide > 0 or nameless:
                wanting[f"{name} {size['width']}"] = too_wide, nameless
    assert wanting == {}
