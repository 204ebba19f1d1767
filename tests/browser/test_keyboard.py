"""The admin with the keyboard only: Tab, letters, Enter, Escape."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from privacy.admin.actions import ERASE
from privacy.admin.view import page_url
from tests.browser.admin_pages import LOGGED_IN, OFFICER
from tests.chromium import DESKTOP, PHONE
from tests.factories import PASSWORD, UserFactory
from tests.privacy.life import FULL_NAME
from tests.support.staff import signed_in, staff, superuser
from vectorstore.sync.inline import point_of

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.django_db(transaction=True)]

RIGHTS = ("accounts.view_user", "accounts.soft_delete_user")
TABLET = {"width": 1024, "height": 800}


@pytest.mark.at_length
def test_keyboard__is_sufficient(page: Page, person: User) -> None:
    """A soft deletion, from the login to its end, needs only Tab, letters and Enter."""
    staff(*RIGHTS, email=OFFICER)
    page.goto("/")
    tab_to(page, "Email*")
    page.keyboard.type(OFFICER)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    with page.expect_navigation(url=LOGGED_IN):
        page.keyboard.press("Enter")
    for name in ("Users", "Search", FULL_NAME, "Soft delete", "Soft delete"):
        tab_to(page, name)
        if name == "Search":
            page.keyboard.type("quux")
        with page.expect_navigation():
            page.keyboard.press("Enter")
    expect(page.get_by_text(f"Deleted softly: {person.pk}.")).to_be_visible()
    person.refresh_from_db()
    assert person.deleted_at is not None and point_of(person.pk) is None


FOCUSED = """
() => { const words = one => { const copy = one.cloneNode(true);
                               copy.querySelectorAll('[aria-hidden=true]').forEach(icon => icon.remove());
                               return copy.innerText; };
        const one = document.activeElement;
        return (one.getAttribute('aria-label') || one.labels?.[0]?.innerText || words(one) || one.value || '').trim(); }
"""


def tab_to(page: Page, name: str, *, at_most: int = 60) -> None:
    """Press Tab until the element with the name ``name`` has the focus."""
    passed: list[str] = []
    while len(passed) < at_most:
        page.keyboard.press("Tab")
        passed.append(page.evaluate(FOCUSED).split("\n")[-1].strip())
        if passed[-1] == name:
            return
    raise AssertionError(f"Tab never comes to {name!r}, but to {passed}")


@pytest.fixture
def admin(page: Page, live_server: LiveServer) -> User:
    """A superuser with a session. ``test_keyboard__is_enough`` logs in by the form."""
    admin = superuser(email=OFFICER)
    session = signed_in(admin).cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.goto(reverse("admin:index"))
    return admin


@pytest.mark.at_length
def test_skip_link__leads_past_the_navigation(page: Page, admin: User) -> None:
    page.goto(reverse("admin:accounts_user_changelist"))
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the content")
    expect(link).to_be_focused()
    box = link.bounding_box()
    assert box is not None and box["width"] > 100  # it is visible while it has the focus
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    tab_to(page, "Search", at_most=2)


@pytest.mark.at_length
@pytest.mark.parametrize("size", [None, TABLET, PHONE], ids=["desktop", "tablet", "phone"])
def test_user_menu__opens_closes_and_logs_out(page: Page, admin: User, size: dict[str, int] | None) -> None:
    if size:
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a ViewportSize
        page.goto(reverse("admin:index"))
        tab_to(page, "Navigation")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Navigation")).to_have_attribute("aria-expanded", "true")
    opener = page.locator("#user-menu-button")
    tab_to(page, OFFICER)
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    tab_to(page, "Change password", at_most=5)
    tab_to(page, "Log out", at_most=2)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()


@pytest.mark.at_length
def test_user_menu__themes(page: Page, admin: User) -> None:
    page.locator("#user-menu-button").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_class("dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


@pytest.mark.at_length
def test_user_menu__closes_when_the_focus_leaves_it(page: Page, admin: User) -> None:
    page.locator("#user-menu-button").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()


@pytest.mark.at_length
@pytest.mark.parametrize("size", [TABLET, PHONE], ids=["tablet", "phone"])
def test_navigation__takes_the_focus_and_returns_it(page: Page, admin: User, size: dict[str, int]) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]  # a ViewportSize
    page.goto(reverse("admin:index"))
    opener = page.get_by_role("button", name="Navigation", exact=True)
    expect(opener).to_have_attribute("aria-expanded", "false")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#nav-sidebar :focus")).to_have_count(1)
    expect(opener).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#nav-sidebar :focus")).to_have_count(1)
    with page.expect_navigation():
        tab_to(page, "Videos")
        page.keyboard.press("Enter")
    assert page.url.endswith(reverse("admin:videos_video_changelist"))


@pytest.mark.at_length
def test_filters__take_the_focus_and_return_it(page: Page, admin: User) -> None:
    page.goto(reverse("admin:accounts_user_changelist"))
    opener = page.get_by_role("button", name="Filters")
    opener.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Filters")
    expect(panel.get_by_role("button", name="Close")).to_be_focused()
    choice = panel.get_by_role("link", name="Deactivated").bounding_box()
    assert choice is not None and choice["width"] > 100 and choice["x"] + choice["width"] < DESKTOP["width"]  # it is completely visible
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Close")).to_be_focused()
    with page.expect_navigation():
        tab_to(page, "Deactivated")
        page.keyboard.press("Enter")
    assert "state=deactivated" in page.url


@pytest.mark.at_length
def test_tools__on_a_phone(page: Page, admin: User) -> None:
    page.set_viewport_size(PHONE)
    page.goto(reverse("admin:accounts_user_change", args=[UserFactory.create().pk]))
    opener = page.get_by_role("button", name="More actions")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="History")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(page.get_by_role("link", name="History")).to_be_hidden()


@pytest.mark.at_length
def test_related_menu__of_a_field(page: Page, admin: User) -> None:
    """The links of the menu are at the end of the page, and the focus moves there."""
    page.goto(reverse("admin:accounts_user_change", args=[UserFactory.create().pk]))
    opener = page.get_by_role("button", name="Add or change").first
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Add another group")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


@pytest.mark.at_length
def test_log_in__theme_and_error(page: Page) -> None:
    page.goto(reverse("admin:login"))
    opener = page.get_by_role("button", name="Theme")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    page.get_by_label("Password").fill("wrong")
    page.get_by_label(re.compile("E-?mail", re.IGNORECASE)).fill("unknown@example.com")
    page.keyboard.press("Enter")
    expect(page.locator(".errornote").first).to_be_focused()


@pytest.mark.at_length
def test_error__takes_the_focus_and_leads_to_the_field(page: Page, admin: User) -> None:
    page.goto(reverse("admin:accounts_user_change", args=[UserFactory.create().pk]))
    page.get_by_label("Full name").fill("")
    page.get_by_label("Full name").press("Enter")
    note = page.get_by_role("alert").first
    expect(note).to_be_focused()
    expect(note).to_contain_text("Please correct the error below.")
    tab_to(page, "Full name", at_most=1)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Full name")).to_be_focused()


@pytest.mark.at_length
def test_error__keeps_the_focus_when_a_script_arrives_late(page: Page, admin: User) -> None:
    """Django's change_form.js moves the focus to the first field of a new row, whenever it is loaded."""
    page.goto(reverse("admin:matching_match_add"))
    late: list[Route] = []
    page.route("**/admin/js/change_form*.js", lambda route: late.append(route))
    page.get_by_role("button", name="Save", exact=True).first.click()
    note = page.get_by_role("alert").first
    expect(page.locator(".errornote").first).to_be_visible()
    page.wait_for_function(
        "frames => new Promise(done => { const next = () => (frames-- ? requestAnimationFrame(next) : done(true)); next(); })", arg=10
    )
    (script,) = late
    script.continue_()
    page.wait_for_load_state("load")
    expect(note).to_be_focused()


@pytest.mark.at_length
def test_error__overtaken_edit(page: Page, admin: User) -> None:
    person = UserFactory.create(bio="Old.")
    page.goto(reverse("admin:accounts_user_change", args=[person.pk]))
    User.objects.filter(pk=person.pk).update(bio="New.")
    page.get_by_label("Full name").fill("Mine")
    page.get_by_label("Full name").press("Enter")
    note = page.get_by_text("Another session changed this user")
    expect(note).to_contain_text("Bio: was “Old.”, is now “New.”; the new value is shown below.")
    expect(page.locator("[role=alert]:focus")).to_have_count(1)
    expect(page.get_by_label("Bio")).to_have_value("New.")
    with page.expect_navigation(url="**/accounts/user/"):
        page.get_by_label("Full name").press("Enter")
    person.refresh_from_db()
    assert (person.full_name, person.bio) == ("Mine", "New.")


@pytest.mark.at_length
def test_error__wrong_confirmation(page: Page, admin: User, person: User) -> None:
    page.goto(page_url(ERASE, [person.pk]))
    page.get_by_label("To confirm").fill("no")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
