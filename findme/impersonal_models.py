"""Models that hold no personal data, each with the reason. Every other model of an installed app needs an owner of personal data.

A model belongs here only if no column can lead to a person: no name, no address, no id of a user, no IP address, no arguments of a job.
"""

from __future__ import annotations

IMPERSONAL_MODELS = {
    "auth.Permission": "names of the actions that this software knows",
    "auth.Group": "names and permissions of roles; the members are in users_groups, a field of accounts.User",
    "contenttypes.ContentType": "names of the models",
    "axes.AccessAttemptExpiration": "only used with another setting of django-axes, so it has no rows",
    "privacy.LedgerCheckpoint": "the position and the digest of the last entry of the ledger that was deleted after its retention",
    "privacy.LedgerState": "the number of the last entry in the ledger outside the database",
    "privacy.RetentionApproval": "the digest of approved rules of retention, and when they were approved",
    "backups.Backup": "places, names, times and sizes of backups",
    "backups.BackupVerification": "names and times of backups, numbers of what was compared, and an error without a row",
    "vectorstore.VectorCollection": "names, states and times of collections",
    "vectorstore.SyncWorker": "hosts and process ids of workers",
    "vectorstore.Verification": "numbers of differences between the stores, without an id",
}
