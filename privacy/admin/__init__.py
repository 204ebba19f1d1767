"""Privacy actions, requests, holds, admin log and audit log in the admin."""

from privacy.admin import admin_log, audit_log, holds, requests  # noqa: F401  # they register their models
