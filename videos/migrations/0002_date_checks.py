from django.db import migrations

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [("videos", "0001_initial")]

    operations = [
        AddChecks("Video", supported_dates("videos", "created_at", "updated_at", "deleted_at")),
    ]
