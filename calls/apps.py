from django.apps import AppConfig


class CallsConfig(AppConfig):
    name = "calls"
    verbose_name = "Calls"
    trigger_files = (("0001_initial", "0001_users_of_match"), ("0005_erased_users", "0005_erased_users"))
