from django.db import migrations, models

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_reduced_data")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="unconfirmed_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when an account with rights is disabled: a backup was restored, and the operator has not confirmed the account",
                null=True,
            ),
        ),
        AddChecks("User", supported_dates("users", "unconfirmed_at")),
    ]
