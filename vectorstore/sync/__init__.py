"""From the queue to Qdrant: people are leased, their current rows are read, their points written or deleted, and read back."""
