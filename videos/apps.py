from django.apps import AppConfig


class VideosConfig(AppConfig):
    name = "videos"
    verbose_name = "Videos"
    trigger_files = (("0001_initial", "0001_updated_at"), ("0005_erased_users", "0005_erased_users"))
