"""What accounts tells the layers above it, which it does not import."""

from django.dispatch import Signal

people_changed = Signal()
"""Sent after the commit of a change in the admin, with ``user_ids`` (a list of UUIDs). A receiver raises StoreUnavailable or
UserFacingError where it cannot follow: the change stands, and the person who made it is told."""
