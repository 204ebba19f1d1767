from django.db import migrations

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates


class Migration(migrations.Migration):
    dependencies = [("calls", "0001_initial")]

    operations = [
        AddChecks("VideoCall", supported_dates("video_calls", "started_at", "ended_at", "created_at")),
    ]
