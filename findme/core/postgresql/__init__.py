"""Django's PostgreSQL backend with fixed session settings, independent of role, database and server."""
