"""Bring a backup back into the stores that serve."""
