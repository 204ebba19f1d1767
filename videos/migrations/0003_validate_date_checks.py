from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("videos", "0002_date_checks")]

    operations = [
        ValidateChecks("Video", ["videos_created_at_range_check", "videos_updated_at_range_check", "videos_deleted_at_range_check"]),
    ]
