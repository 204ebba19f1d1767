"""Restore a file that FindMe did not make: a dump of ``pg_dump``."""
