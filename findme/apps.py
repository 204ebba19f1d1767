from django.apps import AppConfig


class FindmeConfig(AppConfig):
    name = "findme"
    verbose_name = "FindMe"
