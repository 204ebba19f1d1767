"""Each prints a ratio against its baseline, measured in the same run on the same rows: ``python -m benchmarks.ingest``, and so on."""
