from django.db import migrations, models
from django.db.models import Value


class Migration(migrations.Migration):
    """The first position of the last object outside, to find the object again, and whether a replay has not ended."""

    dependencies = [("privacy", "0022_kept_and_restricted_data")]

    operations = [
        migrations.AddField("LedgerState", "published_first", models.BigIntegerField(default=0, db_default=Value(0))),
        migrations.AddField("LedgerState", "is_replaying", models.BooleanField(default=False, db_default=False)),
    ]
