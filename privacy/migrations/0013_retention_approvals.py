from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0012_ledger_checkpoints"),
    ]

    operations = [
        migrations.CreateModel(
            name="RetentionApproval",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.BinaryField()),
                ("approved_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
            ],
            options={
                "db_table": "retention_approvals",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("digest",), name="retention_approvals_digest_key"),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsDigest("digest"), name="retention_approvals_digest_check"
                    ),
                    findme.core.db.dates.SupportedDate(field="approved_at", name="retention_approvals_approved_at_range_check"),
                ],
            },
        ),
    ]
