from django.apps import AppConfig


class MigratorConfig(AppConfig):
    name = "findme.migrator"
    verbose_name = "Migrations"
