import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models
from django.db.models import Q

from findme.core.db.checks import AddChecks

FORGET_BATCHES = """
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE erasures DISABLE TRIGGER erasures_kept;
DELETE FROM erasures WHERE user_id IS NULL;
ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_kept;
"""
"""Without this migration, the erasure of a batch has no row."""


class Migration(migrations.Migration):
    dependencies = [("privacy", "0019_ledger_chain")]

    operations = [
        migrations.AlterField("Erasure", "user_id", models.UUIDField(null=True)),
        migrations.AddField("Erasure", "user_ids", django.contrib.postgres.fields.ArrayField(models.UUIDField(), null=True)),
        migrations.AddIndex("Erasure", django.contrib.postgres.indexes.GinIndex(fields=["user_ids"], name="erasures_user_ids_idx")),
        AddChecks(
            "Erasure",
            [
                models.CheckConstraint(
                    condition=Q(user_id__isnull=False, user_ids__isnull=True)
                    | Q(user_id__isnull=True, user_ids__isnull=False, user_ids__len__gt=0, request__isnull=True, hid_user=False),
                    name="erasures_users_check",
                ),
            ],
        ),
        migrations.RunSQL(migrations.RunSQL.noop, FORGET_BATCHES),
    ]
