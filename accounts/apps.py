from django.apps import AppConfig

from findme.migrator.baseline.remedies import Remedy


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"
    trigger_files = (
        ("0001_initial", "0001_updated_at"),
        ("0006_erased_users", "0006_erased_users"),
        ("0010_pending_actions", "0010_pending_actions"),
        ("0011_holds", "0011_holds"),
        ("0012_restriction", "0012_restriction"),
        ("0014_reduced_data", "0014_reduced_data"),
        ("0017_user_id", "0017_user_id"),
    )
    remedies = (
        Remedy("users.verified", "Set verified to false, its default", "verified", "false"),
        Remedy("users.active", "Set active to true, its default", "active", "true"),
        Remedy("users.created_at", "Set created_at to updated_at, else to now", "created_at", "coalesce(updated_at, now())"),
        Remedy("users.updated_at", "Set updated_at to created_at, else to now", "updated_at", "coalesce(created_at, now())"),
        Remedy("users_video_id_fkey", "Set video_id to NULL", "video_id", "NULL"),
    )

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        from accounts.last_login import replace_receiver  # imports the models
        from accounts.login.session_limits import start_session

        replace_receiver()
        user_logged_in.connect(start_session, dispatch_uid="accounts.start_session")
