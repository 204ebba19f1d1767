"""axe-core finds no serious problem on any page of the admin, in light and dark, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import User
from privacy.admin.actions import ERASE
from privacy.admin.view import page_url
from tests.browser.admin_pages import OFFICER, log_in, pages
from tests.chromium import DESKTOP, PHONE, photograph
from tests.support.staff import superuser

pytestmark = [pytest.mark.browser, pytest.mark.no_cover, pytest.mark.long, pytest.mark.django_db(transaction=True)]


MINUTE = 60_000
"""Milliseconds. Other browsers of the tests use the processors at the same time."""
SERIOUS = {"serious", "critical"}
LOOKS = (("light", DESKTOP), ("dark", PHONE))
EVERY_LOOK = (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE))
THOROUGHLY = ("index", "list accounts_user", "page accounts_user", "state of the vector store", "erase", "login")
"""Pages that are checked in every combination of theme and size."""

UNREACHABLE = """
() => [...document.querySelectorAll('[x-on\\\\:click]')]
    .filter(one => one.id !== 'changelist-filter-close' && one.checkVisibility({visibilityProperty: true}))
    .filter(one => !one.matches('button, a[href], input, select, textarea, summary') && one.tabIndex < 0)
    .map(one => one.outerHTML.slice(0, 120))
"""
"""Elements that can be clicked, but not reached with the keyboard."""

Visit = Callable[[Page], None]


def at(address: str) -> Visit:
    def visit(page: Page) -> None:
        page.goto(address)

    return visit


def pressed(address: str, button: str) -> Visit:
    """Show the page with its errors, after a button is pressed without input."""

    def visit(page: Page) -> None:
        page.goto(address)
        page.evaluate("document.querySelectorAll('form').forEach(form => { form.noValidate = true })")
        page.get_by_role("button", name=button, exact=True).first.click()
        expect(page.locator(".errornote, main [role=alert]").first).to_be_focused()

    return visit


def with_filters(page: Page) -> None:
    page.goto(reverse("admin:accounts_user_changelist"))
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("dialog", name="Filters")).to_be_visible()


def with_user_menu(page: Page) -> None:
    page.goto(reverse("admin:index"))
    if not page.locator("#user-menu-button").is_visible():
        page.get_by_role("button", name="Navigation").click()
    page.locator("#user-menu-button").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def refused_erasure(person: User) -> Visit:
    def visit(page: Page) -> None:
        page.goto(page_url(ERASE, [person.pk]))
        page.get_by_label("To confirm").fill("no")
        page.get_by_role("button", name="Delete for good").click()
        expect(page.get_by_role("alert")).to_be_focused()

    return visit


def lists(person: User) -> Iterator[tuple[str, Visit]]:
    every = pages(person)
    yield from ((name, at(address)) for name, address in every.items() if name.startswith(("list", "index")))
    users = reverse("admin:accounts_user_changelist")
    yield "filters", with_filters
    yield "filtered", at(f"{users}?verified__exact=1")
    yield "nothing found", at(f"{users}?q=zzzzzzzz")
    yield "popup", at(f"{users}?_popup=1")


def rows(person: User) -> Iterator[tuple[str, Visit]]:
    every = pages(person)
    yield from ((name, at(address)) for name, address in every.items() if name.startswith("page"))
    yield "page group", at(reverse("admin:auth_group_change", args=[Group.objects.create(name="Support").pk]))
    yield "delete group", at(reverse("admin:auth_group_delete", args=[Group.objects.get().pk]))


def new_rows(person: User) -> Iterator[tuple[str, Visit]]:
    every = pages(person)
    for name, address in every.items():
        if name.startswith("new"):
            yield name, at(address)
            yield f"{name} with errors", pressed(address, "Save")


def others(person: User) -> Iterator[tuple[str, Visit]]:
    every = pages(person)
    yield from ((name, at(address)) for name, address in every.items() if not name.startswith(("list", "index", "page", "new")))
    yield "plan", at(f"{every['state of the vector store']}?plan=1")
    yield "refused erasure", refused_erasure(person)
    yield "password with errors", pressed(every["password"], "Change password")
    yield "own password with errors", pressed(every["own password"], "Change password")
    yield "own password done", at(reverse("admin:password_change_done"))
    yield "user menu", with_user_menu


def one_of_each(person: User) -> Iterator[tuple[str, Visit]]:
    """The kinds of pages, for ``make test``."""
    every = pages(person)
    yield "a list with filters", with_filters
    yield "a form with errors", pressed(every["new accounts_user"], "Save")
    yield "a row", at(every["page accounts_user"])
    yield "a refused action", refused_erasure(person)
    yield "the user menu", with_user_menu


@pytest.mark.at_length
@pytest.mark.parametrize("group", [one_of_each, lists, rows, new_rows, others], ids=lambda group: group.__name__)
def test_pages__have_no_serious_problem(page: Page, person: User, group: Callable[[User], Iterator[tuple[str, Visit]]]) -> None:
    page.set_default_timeout(MINUTE)
    superuser(email=OFFICER)
    log_in(page)
    found: dict[str, list[str]] = {}
    for name, visit in group(person):
        page.set_viewport_size(DESKTOP)
        visit(page)
        examine(page, name, found)
    assert found == {}


@pytest.mark.at_length
def test_pages__before_and_after_the_session__have_no_serious_problem(page: Page, person: User) -> None:
    found: dict[str, list[str]] = {}
    page.set_default_timeout(MINUTE)
    page.goto(reverse("admin:login"))
    examine(page, "login", found)
    pressed(reverse("admin:login"), "Log in")(page)
    examine(page, "login with errors", found)
    superuser(email=OFFICER)
    log_in(page)
    page.set_viewport_size(DESKTOP)
    with_user_menu(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    examine(page, "logged out", found)
    assert found == {}


def examine(page: Page, name: str, found: dict[str, list[str]]) -> None:
    """Add the problems of the current page to ``found``."""
    for theme, size in EVERY_LOOK if name in THOROUGHLY else LOOKS:
        page.set_viewport_size(size)
        page.emulate_media(reduced_motion="reduce")
        page.evaluate("theme => Alpine.$data(document.documentElement).switchTheme(theme)", theme)
        expect(page.locator("html")).to_have_class(theme)
        page.evaluate("document.getAnimations().forEach(animation => animation.finish())")
        photograph(page, f"{name} {theme}")
        wrong = [
            f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
            for violation in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]
        wrong += [f"not reached by the keyboard: {one}" for one in page.evaluate(UNREACHABLE)]
        if page.locator("main").count() != 1:
            wrong.append("not one main")
        if wrong:
            found[f"{name} {theme} {size['width']}"] = wrong
