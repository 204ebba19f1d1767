from django.apps import AppConfig

from findme.migrator.baseline.remedies import Remedy

_OF_OTHER_USERS = """
    num_nulls(caller_id, callee_id) = 0 AND EXISTS (
        SELECT FROM matches WHERE matches.id = video_calls.match_id AND num_nulls(user_id, matched_user_id) = 0
        AND (LEAST(user_id, matched_user_id), GREATEST(user_id, matched_user_id)) <> (LEAST(caller_id, callee_id), GREATEST(caller_id, callee_id))
    )
"""
"""A row without a match or without a user breaks another rule."""


class CallsConfig(AppConfig):
    name = "calls"
    verbose_name = "Calls"
    trigger_files = (("0001_initial", "0001_users_of_match"), ("0005_erased_users", "0005_erased_users"), ("0006_holds", "0006_holds"))
    trigger_rule_conditions = {"video_calls_users_of_match_check": ("video_calls", " ".join(_OF_OTHER_USERS.split()))}
    remedies = (
        Remedy("video_calls.metadata", "Set metadata to {}, its default", "metadata", "'{}'"),
        Remedy("video_calls.created_at", "Set created_at to started_at, else to now", "created_at", "coalesce(started_at, now())"),
    )
