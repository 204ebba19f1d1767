"""Base of the management commands: exit codes, errors in one line, JSON, progress. Imports no app."""
