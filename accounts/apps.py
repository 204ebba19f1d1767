from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"
    trigger_files = (("0001_initial", "0001_updated_at"),)

    def ready(self) -> None:
        from accounts.last_login import replace_receiver  # it imports the models

        replace_receiver()
