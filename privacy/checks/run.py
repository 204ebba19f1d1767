"""All system checks of personal data."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage

from privacy.checks.columns import is_ours
from privacy.checks.owners import errors_of_files, errors_of_impersonal_models, errors_of_links, errors_of_ownership
from privacy.checks.protection import errors_of_disposition, errors_of_protection
from privacy.checks.stores import errors_of_stores
from privacy.registry import registry


def check_owners(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Check all models, whatever apps are selected: an owner can own fields of another app."""
    owners, impersonal = list(registry.owners), settings.IMPERSONAL_MODELS
    models = apps.get_models()
    personal = [model for model in models if model._meta.label not in impersonal]
    return [
        *errors_of_ownership(personal, owners),
        *errors_of_impersonal_models(impersonal, owners),
        *errors_of_links(personal, owners),
        *errors_of_files(personal, owners),
        *errors_of_protection(filter(is_ours, models), owners),
        *errors_of_disposition(owners),
        *errors_of_stores(registry.stores),
    ]
