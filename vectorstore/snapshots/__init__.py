"""Snapshots of the collection, which Qdrant makes: create, list, download, delete them, and restore one into a new collection."""
