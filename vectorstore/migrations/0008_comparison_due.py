from django.db import migrations, models

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0007_users_inserted"),
    ]

    operations = [
        migrations.AddField(
            model_name="storestate",
            name="comparison_due_at",
            field=models.DateTimeField(null=True),
        ),
        AddChecks("StoreState", supported_dates("vector_store_state", "comparison_due_at")),
    ]
