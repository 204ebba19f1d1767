"""Sidebar of the admin: links to the lists that the user may view."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.http import HttpRequest
from django.urls import reverse

from findme.core.admin.links import can_view

SECTIONS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("", (("Users", "group", "accounts.User"),)),
    (
        "User data",
        (
            ("Videos", "movie", "videos.Video"),
            ("Matches", "favorite", "matching.Match"),
            ("Calls", "video_call", "calls.VideoCall"),
            ("Embeddings", "hub", "vectorstore.ProfileEmbedding"),
        ),
    ),
    (
        "Vector store",
        (
            ("State", "monitoring", "vectorstore.QuarantinedUser", "state"),
            ("Quarantined users", "person_alert", "vectorstore.QuarantinedUser"),
        ),
    ),
    (
        "Backups",
        (
            ("Status", "backup", "backups.Backup", "status"),
            ("Deep verifications", "verified", "backups.BackupVerification"),
        ),
    ),
    (
        "Privacy",
        (
            ("Requests", "gavel", "privacy.DataSubjectRequest"),
            ("Holds", "lock", "privacy.Hold"),
            ("Audit log", "policy", "privacy.AuditEntry"),
        ),
    ),
    (
        "Staff",
        (("Groups", "shield_person", "auth.Group"), ("Log", "history", "admin.LogEntry")),
    ),
)
"""Title of each section, then title, icon and model of each link. A fourth value names another page than the list."""


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the navigation for unfold (``UNFOLD["SIDEBAR"]["navigation"]``)."""
    return [
        {"title": title, "separator": bool(title), "items": [_item(*listed) for listed in lists]}
        for title, lists in SECTIONS
        if any(can_view(request, apps.get_model(label)) for _, _, label, *_ in lists)
    ]


def _item(title: str, icon: str, label: str, page: str = "changelist") -> dict[str, Any]:
    link = _link(label, page)
    permission = partial(can_view, model=apps.get_model(label))
    return {"title": title, "icon": icon, "link": link, "permission": permission, "active": partial(_is_here, link=link)}


def _link(label: str, page: str = "changelist") -> str:
    model = apps.get_model(label)
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")


def _is_here(request: HttpRequest, link: str) -> bool:
    """Whether the current page is below ``link``, and below no longer link of the sidebar."""
    links = [_link(*listed[2:]) for _, lists in SECTIONS for listed in lists]
    return link == max((one for one in links if request.path.startswith(one)), key=len, default=None)
