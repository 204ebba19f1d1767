"""Admin pages of the vector store: embeddings, quarantined users, and the status page."""

from vectorstore.admin import embeddings, quarantine  # noqa: F401  # registers the models
