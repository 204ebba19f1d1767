from django.apps import AppConfig


class VectorStoreConfig(AppConfig):
    name = "vectorstore"
    verbose_name = "Vector store"

    def ready(self) -> None:
        import vectorstore.following  # noqa: F401  # connects its receiver
