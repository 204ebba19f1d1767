from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A migration of its own: the lock that adding the checks takes is released before the table is read."""

    dependencies = [("videos", "0002_date_checks")]

    operations = [
        ValidateChecks("Video", ["videos_created_at_range_check", "videos_updated_at_range_check", "videos_deleted_at_range_check"]),
    ]
