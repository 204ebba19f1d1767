from django.db import migrations, models

from findme.core.db.checks import AddChecks, RemoveChecks
from findme.core.db.operations import sql_file

OF_USERS = [
    *("export", "anonymize", "soft_delete", "erase", "undo_erasure", "retry"),
    *("restrict", "lift_restriction", "object", "withdraw_objection", "hold", "release_hold", "download_export", "delete_export"),
    *("restricted_change", "confirm_staff"),
]
OF_POLICIES = ["approve_retention"]
OF_REQUESTS = [
    *("request_record", "request_ask", "request_identify", "request_extend", "request_approve", "request_refuse", "request_stop"),
    *("request_answer", "request_withdraw", "request_inform", "request_contact", "request_forget"),
]


class Migration(migrations.Migration):
    dependencies = [("privacy", "0023_ledger_state")]

    operations = [
        RemoveChecks("AuditEntry", ["audit_log_action_check", "audit_log_target_check"]),
        migrations.AlterField(
            model_name="auditentry",
            name="action",
            field=models.CharField(
                choices=[
                    ("export", "Export"),
                    ("anonymize", "Anonymize"),
                    ("soft_delete", "Soft delete"),
                    ("erase", "Delete for good"),
                    ("undo_erasure", "Undo an erasure"),
                    ("retry", "Retry"),
                    ("restrict", "Restrict"),
                    ("lift_restriction", "Lift a restriction"),
                    ("restricted_change", "Change restricted data"),
                    ("object", "Object to the matching"),
                    ("withdraw_objection", "Withdraw an objection"),
                    ("hold", "Hold data"),
                    ("release_hold", "Release held data"),
                    ("download_export", "Download an export"),
                    ("delete_export", "Delete an export"),
                    ("confirm_staff", "Confirm a staff account"),
                    ("approve_retention", "Approve the retention rules"),
                    ("adopt", "Adopt a collection"),
                    ("request_record", "Record a request"),
                    ("request_ask", "Ask for the identity"),
                    ("request_identify", "Confirm the identity"),
                    ("request_extend", "Extend the deadline"),
                    ("request_approve", "Approve a request"),
                    ("request_refuse", "Refuse a request"),
                    ("request_stop", "Stop a processing"),
                    ("request_answer", "Answer a request"),
                    ("request_withdraw", "Withdraw a request"),
                    ("request_inform", "Inform a recipient"),
                    ("request_contact", "Correct a contact address"),
                    ("request_forget", "Delete a contact address"),
                ],
                max_length=20,
            ),
        ),
        AddChecks(
            "AuditEntry",
            [
                models.CheckConstraint(
                    condition=models.Q(("action__in", [*OF_USERS, *OF_POLICIES, "adopt", *OF_REQUESTS])), name="audit_log_action_check"
                ),
                models.CheckConstraint(
                    condition=models.Q(
                        models.Q(("action", "adopt"), ("collection__gt", ""), ("request_id__isnull", True), ("target_id__isnull", True)),
                        models.Q(("action__in", OF_USERS), ("collection", ""), ("request_id__isnull", True), ("target_id__isnull", False)),
                        models.Q(
                            ("action__in", OF_POLICIES), ("collection", ""), ("request_id__isnull", True), ("target_id__isnull", True)
                        ),
                        models.Q(("action__in", OF_REQUESTS), ("collection", "")),
                        _connector="OR",
                    ),
                    name="audit_log_target_check",
                ),
            ],
        ),
        sql_file("0024_confirmed_staff"),
    ]
