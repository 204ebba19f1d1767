"""The erasure ledger, in PostgreSQL and outside: it proves what was done, and a restore cannot undo it."""
