from django.apps import AppConfig


class MatchingConfig(AppConfig):
    name = "matching"
    verbose_name = "Matching"
    trigger_files = (
        ("0001_initial", "0001_updated_at"),
        ("0001_initial", "0001_users"),
        ("0004_erased_users", "0004_erased_users"),
    )
