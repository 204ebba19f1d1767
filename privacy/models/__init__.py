"""Models of erased users, erasures, holds, kept exports, the audit log, the erasure ledger, and the requests of data subjects."""

from privacy.models.audit_log import AuditEntry
from privacy.models.erased_users import ErasedUser
from privacy.models.erasures import Erasure, ErasureStep
from privacy.models.holds import Hold
from privacy.models.kept_exports import KeptExport
from privacy.models.ledger import COUNTED, LedgerCheckpoint, LedgerEntry, LedgerState, PendingAction
from privacy.models.requests import DataSubjectRequest, RequestRecipient
from privacy.models.retention import RetentionApproval

__all__ = [
    "COUNTED",
    "AuditEntry",
    "DataSubjectRequest",
    "ErasedUser",
    "Erasure",
    "ErasureStep",
    "Hold",
    "KeptExport",
    "LedgerCheckpoint",
    "LedgerEntry",
    "LedgerState",
    "PendingAction",
    "RequestRecipient",
    "RetentionApproval",
]
