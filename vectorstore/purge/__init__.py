"""From *erased*, which nobody can reach any more, to *purged*, of which no byte is left in the server's files."""
