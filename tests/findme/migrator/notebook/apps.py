from django.apps import AppConfig


class NotebookConfig(AppConfig):
    """An app for the tests only, with an index that is built concurrently."""

    name = "tests.findme.migrator.notebook"
