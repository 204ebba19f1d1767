"""The vector store in the admin: what it holds, how it is, and whom it refused."""

from vectorstore.admin import aside, embeddings  # noqa: F401  # they register their models
