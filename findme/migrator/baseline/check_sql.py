"""The SQL of the CHECKs, from the models as the migrations leave them.

PostgreSQL's own text of a CHECK is not enough: parsed again, it can become another one. ``x IN ('a', 'b')`` of a varchar becomes
``(ARRAY['a'::character varying, ...])::text[]``, and that becomes ``ARRAY[('a'::character varying)::text, ...]``. Constraints and indexes must have the same text as in a migrated database: later migrations and the
comparison rely on it. The text of the indexes and of the foreign keys stays the same (tried on PostgreSQL 15 and 18).
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.models import CheckConstraint


def check_definitions(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return each CHECK of the models by the name of its constraint: ``CHECK (...)``."""
    models = MigrationLoader(connection).project_state().apps.get_models()
    editor = connection.schema_editor(collect_sql=True)
    return {
        constraint.name: f"CHECK ({constraint._get_check_sql(model, editor)})"  # type: ignore[attr-defined]  # what create_sql uses
        for model in models
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint)
    }
