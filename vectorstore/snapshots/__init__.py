"""Copies of the collection that Qdrant makes of itself: made, listed, fetched, removed, and restored into a collection of their own."""
