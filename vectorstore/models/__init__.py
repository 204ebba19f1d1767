"""The embeddings, what is still to be told to Qdrant, and which collections there are."""

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
