"""Import the vectors and fields of a Qdrant collection that another program filled into ``profile_embeddings``."""
