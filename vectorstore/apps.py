from django.apps import AppConfig


class VectorStoreConfig(AppConfig):
    name = "vectorstore"
    verbose_name = "Vector store"
    trigger_files = (
        ("0001_initial", "0001_profile_embeddings"),
        ("0002_capture", "0002_triggers"),
        ("0005_unique_vectors", "0005_unique_vectors"),
        ("0007_users_inserted", "0007_users_inserted"),
        ("0012_erased_users", "0012_erased_users"),
        ("0013_erased_users_changed", "0013_erased_users_changed"),
        ("0014_imports", "0014_imports"),
        ("0015_hiding_columns", "0015_hiding_columns"),
        ("0016_restricted_users", "0016_restricted_users"),
    )

    def ready(self) -> None:
        import vectorstore.receivers  # noqa: F401  # connects its receiver
