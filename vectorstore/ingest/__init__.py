"""Load embeddings from files into ``profile_embeddings``, and project them to Qdrant."""
