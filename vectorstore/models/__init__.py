"""Models of the embeddings, the sync queue and the Qdrant collections."""

from vectorstore.models.collections import StoreState, VectorCollection, Verification
from vectorstore.models.embedding import VECTOR_SIZE, ProfileEmbedding
from vectorstore.models.sync import QuarantinedUser, QueueEntry, SyncLease, SyncWorker

__all__ = [
    "VECTOR_SIZE",
    "ProfileEmbedding",
    "QuarantinedUser",
    "QueueEntry",
    "StoreState",
    "SyncLease",
    "SyncWorker",
    "VectorCollection",
    "Verification",
]
