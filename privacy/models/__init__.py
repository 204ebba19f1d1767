"""Models of erased users, the audit log, and the requests of data subjects."""

from privacy.models.audit_log import AuditEntry
from privacy.models.erased_users import ErasedUser
from privacy.models.requests import DataSubjectRequest, RequestRecipient

__all__ = ["AuditEntry", "DataSubjectRequest", "ErasedUser", "RequestRecipient"]
