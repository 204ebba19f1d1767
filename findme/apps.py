from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created


class FindmeConfig(AppConfig):
    name = "findme"
    verbose_name = "FindMe"

    def ready(self) -> None:
        from findme.production import check_required_settings, check_trusted_proxies
        from findme.schema.system_checks import check_server_log, check_triggers
        from findme.schema.unreadable import read_every_date

        checks.register(check_triggers, checks.Tags.database)
        checks.register(check_server_log, checks.Tags.database)
        checks.register(check_required_settings, deploy=True)
        checks.register(check_trusted_proxies, deploy=True)
        connection_created.connect(read_every_date, dispatch_uid="findme.read_every_date")
