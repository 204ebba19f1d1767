from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A migration of its own: the lock that adding the checks takes is released before the table is read."""

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
