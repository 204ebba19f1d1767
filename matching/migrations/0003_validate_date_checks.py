from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("matching", "0002_date_checks")]

    operations = [
        ValidateChecks(
            "Match",
            [
                "matches_expires_at_range_check",
                "matches_created_at_range_check",
                "matches_updated_at_range_check",
                "matches_deleted_at_range_check",
            ],
        ),
    ]
