"""Purge erased points: remove their bytes from the server's files.

An *erased* point is no longer reachable through Qdrant. After it is *purged*, no file of the server contains its bytes.
"""
