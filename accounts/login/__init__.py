"""Login: limits on attempts and on concurrent password hashes, and the end of a session."""
