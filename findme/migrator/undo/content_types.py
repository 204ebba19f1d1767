"""Django's records of which models there are, after a rollback."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ProjectState


def remove_stale_content_types(connection: BaseDatabaseWrapper, state: ProjectState, app_labels: set[str]) -> int:
    """Delete the content types of models of these apps that STATE no longer has, with their permissions, wherever those were granted; how many.

    Django never does by itself: its command ``remove_stale_contenttypes`` asks the code, which still has the models.
    """
    try:
        content_types = state.apps.get_model("contenttypes", "ContentType")._base_manager.using(connection.alias)
    except LookupError:
        return 0
    rows = content_types.filter(app_label__in=app_labels).values_list("pk", "app_label", "model")
    stale = [pk for pk, app_label, model in rows if (app_label, model) not in state.models]
    content_types.filter(pk__in=stale).delete()
    return len(stale)
