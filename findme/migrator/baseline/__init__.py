"""Adopt a database that has the tables of the migration guide: command ``baseline``."""
