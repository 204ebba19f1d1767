from django.apps import AppConfig

from findme.migrator.baseline.remedies import Remedy


class VideosConfig(AppConfig):
    name = "videos"
    verbose_name = "Videos"
    trigger_files = (
        ("0001_initial", "0001_updated_at"),
        ("0005_erased_users", "0005_erased_users"),
        ("0007_holds", "0007_holds"),
        ("0008_restricted_users", "0008_restricted_users"),
    )
    remedies = (
        Remedy("videos.metadata", "Set metadata to {}, its default", "metadata", "'{}'"),
        Remedy("videos.created_at", "Set created_at to updated_at, else to now", "created_at", "coalesce(updated_at, now())"),
        Remedy("videos.updated_at", "Set updated_at to created_at, else to now", "updated_at", "coalesce(created_at, now())"),
    )
