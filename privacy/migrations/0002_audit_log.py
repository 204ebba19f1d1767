from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0001_erased_users"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("recorded_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("actor_id", models.UUIDField(help_text="The staff member", null=True)),
                (
                    "actor_account",
                    models.CharField(
                        db_default="", default="", help_text="The operating system account that ran the command", max_length=64
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("export", "Export"),
                            ("anonymize", "Anonymize"),
                            ("soft_delete", "Soft delete"),
                            ("erase", "Delete for good"),
                            ("undo_erasure", "Undo an erasure"),
                            ("retry", "Retry"),
                            ("adopt", "Adopt a collection"),
                        ],
                        max_length=20,
                    ),
                ),
                ("target_id", models.UUIDField(help_text="The user", null=True)),
                ("collection", models.CharField(db_default="", default="", help_text="The collection that was adopted", max_length=255)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("started", "Started"),
                            ("done", "Done"),
                            ("unchanged", "Unchanged"),
                            ("failed", "Failed"),
                            ("unknown", "Unknown"),
                        ],
                        max_length=20,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "db_table": "audit_log",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["target_id"], name="audit_log_target_id_idx"),
                    models.Index(fields=["actor_id"], name="audit_log_actor_id_idx"),
                    models.Index(fields=["recorded_at"], name="audit_log_recorded_at_idx"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("action__in", ["export", "anonymize", "soft_delete", "erase", "undo_erasure", "retry", "adopt"])
                        ),
                        name="audit_log_action_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("outcome__in", ["started", "done", "unchanged", "failed", "unknown"])),
                        name="audit_log_outcome_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("actor_account__gt", ""), ("actor_id__isnull", True)),
                            models.Q(("actor_account", ""), ("actor_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="audit_log_actor_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("action", "adopt"), ("collection__gt", ""), ("target_id__isnull", True)),
                            models.Q(models.Q(("action", "adopt"), _negated=True), ("collection", ""), ("target_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="audit_log_target_check",
                    ),
                    findme.core.db.dates.SupportedDate(field="recorded_at", name="audit_log_recorded_at_range_check"),
                ],
            },
        ),
        sql_file("0002_audit_log"),
    ]
