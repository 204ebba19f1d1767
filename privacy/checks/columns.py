"""The columns of models, and the file in which they are declared."""

from __future__ import annotations

from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db.models import Model

PROJECT = Path(__file__).resolve().parent.parent.parent
IMPERSONAL_MODELS_FILE = "findme/impersonal_models.py"


def field_names(model: type[Model]) -> list[str]:
    """Return the columns of the model's own table and its own many-to-many fields."""
    return [field.name for field in (*model._meta.local_concrete_fields, *model._meta.local_many_to_many)]


def foreign_keys_to_users(model: type[Model]) -> set[str]:
    """Return the foreign keys of the model's own table that refer to users."""
    return {
        field.name
        for field in model._meta.local_concrete_fields
        if field.is_relation and field.related_model is not None and field.related_model._meta.label == settings.AUTH_USER_MODEL
    }


def is_ours(model: type[Model]) -> bool:
    return Path(apps.get_app_config(model._meta.app_label).path).parent == PROJECT


def refers_to_users(model: type[Model]) -> bool:
    return bool(foreign_keys_to_users(model)) or any(
        field.related_model._meta.label == settings.AUTH_USER_MODEL for field in model._meta.local_many_to_many
    )


def declaring_file(model: type[Model]) -> str:
    """Return the file in which an owner of the model is declared: that of the model's app, or that of ``accounts`` for a foreign app."""
    return f"{model._meta.app_label if is_ours(model) else 'accounts'}/personal_data.py"
