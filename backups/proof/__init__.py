"""Prove a backup: restore it apart from the live stores, compare it with its manifest, and drop what was restored."""
