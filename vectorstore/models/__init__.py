"""Models of the embeddings, the sync queue, the Qdrant collections and their import."""

from vectorstore.models.collections import StoreState, VectorCollection, Verification
from vectorstore.models.embedding import VECTOR_SIZE, ProfileEmbedding
from vectorstore.models.imports import ImportDigest, VectorImport
from vectorstore.models.sync import QuarantinedUser, QueueEntry, SyncLease, SyncWorker

__all__ = [
    "VECTOR_SIZE",
    "ImportDigest",
    "ProfileEmbedding",
    "QuarantinedUser",
    "QueueEntry",
    "StoreState",
    "SyncLease",
    "SyncWorker",
    "VectorCollection",
    "VectorImport",
    "Verification",
]
