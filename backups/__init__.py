"""One backup of both stores, restored and proven. Nothing imports this app."""
