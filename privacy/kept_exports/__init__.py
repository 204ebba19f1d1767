"""Exports that wait for their download: encrypted files, whose key is in the link only."""
