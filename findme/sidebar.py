"""What stands at the side of every page of the admin: the lists that the person there may see."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.http import HttpRequest
from django.urls import reverse

from findme.core.admin.links import can_view

SECTIONS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("", (("People", "group", "accounts.User"),)),
    (
        "What they have",
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
        "Staff",
        (("Groups", "shield_person", "auth.Group"), ("Log", "history", "admin.LogEntry"), ("Audit log", "policy", "privacy.AuditEntry")),
    ),
)
"""Titles, with the icons and the labels of the models listed there; and another page of a model's than its list."""


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """For unfold: ``UNFOLD["SIDEBAR"]["navigation"]``."""
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
    """Whether the page shown is this one or below it; and not below another one that is listed itself."""
    links = [_link(*listed[2:]) for _, lists in SECTIONS for listed in lists]
    return link == max((one for one in links if request.path.startswith(one)), key=len, default=None)
