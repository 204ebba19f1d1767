"""The part of a backup that PostgreSQL has."""
