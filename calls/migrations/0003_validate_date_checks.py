from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("calls", "0002_date_checks")]

    operations = [
        ValidateChecks(
            "VideoCall", ["video_calls_started_at_range_check", "video_calls_ended_at_range_check", "video_calls_created_at_range_check"]
        ),
    ]
