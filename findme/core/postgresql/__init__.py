"""Django's PostgreSQL backend, with a session that does not depend on the settings of a role, a database or a server."""
