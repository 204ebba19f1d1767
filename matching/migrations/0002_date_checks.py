from django.db import migrations

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [("matching", "0001_initial")]

    operations = [
        AddChecks("Match", supported_dates("matches", "expires_at", "created_at", "updated_at", "deleted_at")),
    ]
