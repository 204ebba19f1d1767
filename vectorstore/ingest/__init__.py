"""Embeddings from files into ``profile_embeddings``, and from there into Qdrant."""
