"""The privacy actions in the admin, its log and the audit log."""

from privacy.admin import admin_log, audit_log  # noqa: F401  # they register their models
