from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0005_requests"),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("recorded_at", models.DateTimeField(editable=False)),
                (
                    "kind",
                    models.SmallIntegerField(
                        choices=[
                            (1, "Erase"),
                            (2, "Undo an erasure"),
                            (3, "Anonymize"),
                            (4, "Undo an anonymization"),
                            (5, "Soft delete"),
                            (6, "Undo a soft deletion"),
                            (7, "Restrict"),
                            (8, "Lift a restriction"),
                            (9, "Object"),
                            (10, "Withdraw an objection"),
                        ]
                    ),
                ),
                ("subject", models.BinaryField()),
                ("key_id", models.SmallIntegerField()),
                ("plan_digest", models.BinaryField(null=True)),
                ("policy_version", models.IntegerField()),
                ("counts", models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)),
                ("previous", models.BinaryField()),
                ("digest", models.BinaryField()),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "db_table": "erasure_ledger",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["subject"], name="erasure_ledger_subject_idx")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("position__gt", 0)), name="erasure_ledger_position_check"),
                    models.CheckConstraint(condition=models.Q(("kind__gte", 1), ("kind__lte", 10)), name="erasure_ledger_kind_check"),
                    models.CheckConstraint(condition=models.Q(("key_id__gt", 0)), name="erasure_ledger_key_id_check"),
                    models.CheckConstraint(condition=models.Q(("policy_version__gt", 0)), name="erasure_ledger_policy_version_check"),
                    models.CheckConstraint(condition=findme.core.db.expressions.IsDigest("subject"), name="erasure_ledger_subject_check"),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsDigest("plan_digest"), name="erasure_ledger_plan_digest_check"
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.HasCounts(
                            "counts",
                            names=(
                                "audit_log",
                                "calls",
                                "erasure",
                                "exports",
                                "files",
                                "log_ins",
                                "matches",
                                "profile",
                                "requests",
                                "snapshots",
                                "vector_import",
                                "vector_store",
                                "vector_sync",
                                "videos",
                            ),
                        ),
                        name="erasure_ledger_counts_check",
                    ),
                    findme.core.db.dates.SupportedDate(field="recorded_at", name="erasure_ledger_recorded_at_range_check"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerState",
            fields=[
                ("id", models.SmallIntegerField(db_default=models.Value(1), default=1, primary_key=True, serialize=False)),
                ("published_position", models.BigIntegerField(db_default=models.Value(0), default=0)),
            ],
            options={
                "db_table": "erasure_ledger_state",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="erasure_ledger_state_one_row_check"),
                    models.CheckConstraint(condition=models.Q(("published_position__gte", 0)), name="erasure_ledger_state_published_check"),
                ],
            },
        ),
        sql_file("0006_erasure_ledger"),
    ]
