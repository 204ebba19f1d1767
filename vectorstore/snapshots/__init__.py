"""Create, list, download, delete and restore Qdrant snapshots of the collection.

A snapshot is restored into a new collection.
"""
