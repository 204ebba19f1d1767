"""Migrations under a lock, with a deadline for each table: ``migrate``, ``rollback`` and ``schema_version``."""
