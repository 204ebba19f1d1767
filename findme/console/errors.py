"""What a function raises when it was not done, for a reason that a person can do something about."""

from __future__ import annotations


class NotDone(Exception):
    """Nothing was done, or what was begun was undone. The text is one line: what is wrong, the value, and the next step; no password."""


class StoreUnavailable(NotDone):
    """A store cannot be reached, or does not answer: nothing is wrong with what was asked, and it may be asked again."""
