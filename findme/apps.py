from django.apps import AppConfig
from django.core import checks


class FindmeConfig(AppConfig):
    name = "findme"
    verbose_name = "FindMe"

    def ready(self) -> None:
        from findme.production import check_required_settings, check_trusted_proxies

        checks.register(check_required_settings, deploy=True)
        checks.register(check_trusted_proxies, deploy=True)
