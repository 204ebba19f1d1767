"""Compare both stores user by user, and repair the differences."""
