from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"
    trigger_files = (("0001_initial", "0001_updated_at"), ("0006_erased_users", "0006_erased_users"))

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        from accounts.last_login import replace_receiver  # imports the models
        from accounts.login.session_limits import start_session

        replace_receiver()
        user_logged_in.connect(start_session, dispatch_uid="accounts.start_session")
