from django.apps import AppConfig


class VectorStoreConfig(AppConfig):
    name = "vectorstore"
    verbose_name = "Vector store"
