"""Pages of the admin for the browser tests: the login, and the URL of every kind of page."""

from __future__ import annotations

import re

from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Page

from accounts.models import User
from privacy.admin.actions import ACTIONS
from privacy.admin.view import page_url
from privacy.models import AuditEntry
from privacy.models.request_choices import Kind
from privacy.requests.steps import record
from tests.factories import PASSWORD

OFFICER = "officer@example.com"
LOGGED_IN = re.compile("/admin/$(?<!next=/admin/)")


def log_in(page: Page, email: str = OFFICER) -> None:
    page.goto("/")
    page.get_by_label(re.compile("E-?mail", re.IGNORECASE)).fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(LOGGED_IN)


def pages(person: User) -> dict[str, str]:
    """Return the URL of every kind of page of the admin, by name."""
    video, match, call = person.videos.all()[0], person.matches.all()[0], person.calls_made.all()[0]
    entry = AuditEntry.objects.create(action="export", actor_account="root", target_id=person.pk, outcome="done")
    request = record(Kind.ACCESS, user_id=person.pk)
    lists = [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry]
    rows = [("accounts_user", person), ("videos_video", video), ("matching_match", match), ("calls_videocall", call)]
    return {
        "index": reverse("admin:index"),
        **{f"list {name}": reverse(f"admin:{name}_changelist") for name in lists},
        **{f"page {name}": reverse(f"admin:{name}_change", args=[row.pk]) for name, row in rows},
        "page privacy_auditentry": reverse("admin:privacy_auditentry_change", args=[entry.pk]),
        "page privacy_datasubjectrequest": reverse("admin:privacy_datasubjectrequest_change", args=[request.pk]),
        "record a request": reverse("admin:privacy_datasubjectrequest_record"),
        **{
            f"step {slug}": reverse("admin:privacy_datasubjectrequest_step", args=[request.pk, slug])
            for slug in ("confirm-identity", "refuse")
        },
        "page vectorstore_profileembedding": reverse("admin:vectorstore_profileembedding_change", args=[person.pk]),
        **{f"new {name}": reverse(f"admin:{name}_add") for name, _ in [*rows, ("auth_group", None)]},
        "state of the vector store": reverse("admin:vectorstore_quarantineduser_state"),
        "status of the backups": reverse("admin:backups_backup_status"),
        "password": reverse("admin:auth_user_password_change", args=[person.pk]),
        "own password": reverse("admin:password_change"),
        "history": reverse("admin:accounts_user_history", args=[person.pk]),
        **{action.slug: page_url(action, [person.pk]) for action in ACTIONS.values()},
    }
