"""Fixtures of all tests of the vector store."""

from tests.support.collections import collection, every_live, live, no_recheck_delay

__all__ = ["collection", "every_live", "live", "no_recheck_delay"]
