from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0006_erasure_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="PendingAction",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("user_id", models.UUIDField()),
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
                ("noted_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
            ],
            options={
                "db_table": "pending_actions",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["user_id"], name="pending_actions_user_id_idx")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("kind__gte", 1), ("kind__lte", 10)), name="pending_actions_kind_check"),
                    findme.core.db.dates.SupportedDate(field="noted_at", name="pending_actions_noted_at_range_check"),
                ],
            },
        ),
        sql_file("0007_pending_actions"),
    ]
