"""The privacy actions in the admin: a page that shows what will happen, and the doing, one person or several at a time."""

import privacy.admin.audit  # registers the audit log
import privacy.admin.log  # noqa: F401  # registers the admin's log
