"""Build a new collection, check it, and make it live in one step; and roll back."""
