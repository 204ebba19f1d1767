"""Signals of ``accounts`` for the layers above it, which it does not import."""

from django.dispatch import Signal

users_changed = Signal()
"""Sent after the commit of a change in the admin, with ``user_ids`` (a list of UUIDs).

A receiver raises StoreUnavailable or UserFacingError if it fails. The change stays, and the admin shows a warning.
"""
