"""Tools for the PostgreSQL schema: constraints, SQL files, and migrations under a lock.

The lowest layer: any app may import it, it imports none.
"""
