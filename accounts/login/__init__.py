"""Log-in: who may try how often, how many passwords are hashed at once, and when a session ends."""
