"""Users and groups in the admin."""

from accounts.admin import groups, users  # noqa: F401  # they register their models
