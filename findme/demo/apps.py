from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "findme.demo"
    verbose_name = "Demo"
