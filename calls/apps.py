from django.apps import AppConfig


class CallsConfig(AppConfig):
    name = "calls"
    verbose_name = "Calls"
    trigger_files = (("0005_erased_users", "0005_erased_users"),)
