"""How the commands talk: exit codes, one line for an error, JSON, progress. The lowest layer: it imports no app."""
