"""Where backups are kept: a folder, or a store that fsspec can reach."""
