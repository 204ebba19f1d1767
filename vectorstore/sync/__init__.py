"""Sync from the queue to Qdrant: lease users, read their rows, write or delete their points, and read the points back."""
