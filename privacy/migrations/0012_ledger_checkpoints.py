from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0011_holds"),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerCheckpoint",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("digest", models.BinaryField()),
                ("last_recorded_at", models.DateTimeField()),
                ("retention_days", models.IntegerField()),
                ("created_at", models.DateTimeField()),
                ("key", models.BinaryField()),
                ("signature", models.BinaryField()),
            ],
            options={
                "db_table": "ledger_checkpoints",
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("position__gt", 0)), name="ledger_checkpoints_position_check"),
                    models.CheckConstraint(condition=models.Q(("retention_days__gt", 0)), name="ledger_checkpoints_retention_days_check"),
                    models.CheckConstraint(condition=findme.core.db.expressions.IsDigest("digest"), name="ledger_checkpoints_digest_check"),
                    models.CheckConstraint(condition=findme.core.db.expressions.IsDigest("key"), name="ledger_checkpoints_key_check"),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsSignature("signature"), name="ledger_checkpoints_signature_check"
                    ),
                    findme.core.db.dates.SupportedDate(field="last_recorded_at", name="ledger_checkpoints_last_recorded_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="created_at", name="ledger_checkpoints_created_at_range_check"),
                ],
            },
        ),
        sql_file("0012_ledger_checkpoints"),
    ]
