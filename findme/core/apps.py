from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created


class CoreConfig(AppConfig):
    name = "findme.core"
    verbose_name = "FindMe's library"

    def ready(self) -> None:
        from findme.core.system_checks import check_server_log, check_triggers
        from findme.core.values.unreadable import register_date_loaders

        checks.register(check_triggers, checks.Tags.database)
        checks.register(check_server_log, checks.Tags.database)
        connection_created.connect(register_date_loaders, dispatch_uid="findme.register_date_loaders")
