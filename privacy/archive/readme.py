"""``README.html`` of an export: the information of article 15 (1) and (2), from the declarations of all personal data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.template.loader import render_to_string

from privacy.declarations import SOURCES, Category
from privacy.processing_register import CategoryOfData, processing_register
from privacy.registry import registry

NOT_STATED = "Ask the company that sent you this file."


@dataclass(frozen=True, slots=True)
class DescribedData:
    """One category of data for one purpose, as the page shows it."""

    category: str
    recipients: str
    time_limits: str
    source: str


def readme(user_id: UUID, made_at: datetime) -> str:
    """Return the page. It has no script and no link, its style is in it, and its values are escaped."""
    register = processing_register()
    return render_to_string(
        "privacy/readme.html",
        {
            "user_id": user_id,
            "made_at": made_at,
            "controller": settings.PRIVACY_CONTROLLER or NOT_STATED,
            "officer": settings.PRIVACY_OFFICER or NOT_STATED,
            "transfers": settings.PRIVACY_TRANSFERS or NOT_STATED,
            "accounts_erased": register.accounts_erased,
            "sections": [owner.section for owner in registry.owners],
            "activities": [
                {
                    "purpose": activity.purpose,
                    "legal_bases": ", ".join(f"article {basis}" for basis in activity.legal_bases),
                    "data": [_described(data) for data in activity.categories],
                }
                for activity in register.activities
            ],
            "decisions": sorted({part.purpose.automated_decisions for owner in registry.owners for part in owner.data} - {""}),
        },
    )


def _described(data: CategoryOfData) -> DescribedData:
    return DescribedData(
        data.category,
        "; ".join(data.recipients) or "our staff only",
        "; ".join(data.time_limits),
        SOURCES[Category(data.category)],
    )
