from django.db import migrations, models

from findme.core.db.dates import supported_dates
from findme.core.db.expressions import ClockTimestamp
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True
    dependencies = [("migrator", "0001_schema_version"), ("accounts", "0005_validate_date_and_length_checks")]

    operations = [
        migrations.CreateModel(
            name="ErasedUser",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("erased_at", models.DateTimeField(db_default=ClockTimestamp(), editable=False)),
                ("deleted", models.BooleanField(db_default=False, default=False)),
            ],
            options={
                "db_table": "erased_users",
                "default_permissions": ("view",),
                "constraints": [*supported_dates("erased_users", "erased_at")],
            },
        ),
        sql_file("0001_erased_users"),
    ]
