from django.db import migrations, models

from findme.core.db.checks import AddChecks, RemoveChecks


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0002_audit_log"),
    ]

    operations = [
        RemoveChecks("AuditEntry", ["audit_log_action_check", "audit_log_target_check"]),
        migrations.AddField(
            model_name="auditentry",
            name="request_id",
            field=models.UUIDField(help_text="The request of a data subject", null=True),
        ),
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
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(condition=models.Q(("request_id__isnull", False)), fields=["request_id"], name="audit_log_request_id_idx"),
        ),
        AddChecks(
            "AuditEntry",
            [
                models.CheckConstraint(
                    condition=models.Q(
                        (
                            "action__in",
                            [
                                "export",
                                "anonymize",
                                "soft_delete",
                                "erase",
                                "undo_erasure",
                                "retry",
                                "adopt",
                                "request_record",
                                "request_ask",
                                "request_identify",
                                "request_extend",
                                "request_approve",
                                "request_refuse",
                                "request_stop",
                                "request_answer",
                                "request_withdraw",
                                "request_inform",
                                "request_contact",
                                "request_forget",
                            ],
                        )
                    ),
                    name="audit_log_action_check",
                ),
                models.CheckConstraint(
                    condition=models.Q(
                        models.Q(("action", "adopt"), ("collection__gt", ""), ("request_id__isnull", True), ("target_id__isnull", True)),
                        models.Q(
                            ("action__in", ["export", "anonymize", "soft_delete", "erase", "undo_erasure", "retry"]),
                            ("collection", ""),
                            ("request_id__isnull", True),
                            ("target_id__isnull", False),
                        ),
                        models.Q(
                            (
                                "action__in",
                                [
                                    "request_record",
                                    "request_ask",
                                    "request_identify",
                                    "request_extend",
                                    "request_approve",
                                    "request_refuse",
                                    "request_stop",
                                    "request_answer",
                                    "request_withdraw",
                                    "request_inform",
                                    "request_contact",
                                    "request_forget",
                                ],
                            ),
                            ("collection", ""),
                        ),
                        _connector="OR",
                    ),
                    name="audit_log_target_check",
                ),
            ],
        ),
    ]
