"""Admin pages of the backups: both lists, and the status page."""

from backups.admin import lists  # noqa: F401  # registers the models
