from django.db import migrations, models

import findme.core.db.dates
import findme.core.db.expressions


class Migration(migrations.Migration):
    initial = True

    dependencies = [("privacy", "0018_validate_changes_while_restricted")]

    operations = [
        migrations.CreateModel(
            name="Backup",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("destination", models.TextField()),
                ("name", models.CharField(max_length=255)),
                ("database", models.CharField(max_length=100)),
                ("taken_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("is_complete", models.BooleanField()),
                ("is_encrypted", models.BooleanField()),
                ("size", models.BigIntegerField()),
                ("seen_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("gone_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "backups",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("destination", "name"), name="backups_destination_name_key"),
                    models.CheckConstraint(condition=models.Q(("size__gte", 0)), name="backups_size_check"),
                    findme.core.db.dates.SupportedDate(field="taken_at", name="backups_taken_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="ended_at", name="backups_ended_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="seen_at", name="backups_seen_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="gone_at", name="backups_gone_at_range_check"),
                ],
            },
        ),
    ]
