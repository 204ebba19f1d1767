from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class CoreConfig(AppConfig):
    name = "findme.core"
    verbose_name = "FindMe's library"

    def ready(self) -> None:
        from findme.core.system_checks import check_after_restore, check_server_log, check_triggers
        from findme.core.values.unreadable import register_date_loaders

        autodiscover_modules("restored")  # they say what a restored database ends
        checks.register(check_triggers, checks.Tags.database)
        checks.register(check_server_log, checks.Tags.database)
        checks.register(check_after_restore, checks.Tags.models)
        connection_created.connect(register_date_loaders, dispatch_uid="findme.register_date_loaders")
