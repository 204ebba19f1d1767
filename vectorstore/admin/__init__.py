"""The vector store in the admin: embeddings, quarantined users, and its status."""

from vectorstore.admin import embeddings, quarantine  # noqa: F401  # they register their models
