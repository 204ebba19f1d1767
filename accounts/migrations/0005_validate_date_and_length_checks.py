from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("accounts", "0004_date_and_length_checks")]

    operations = [
        ValidateChecks(
            "User",
            [
                "users_date_of_birth_range_check",
                "users_created_at_range_check",
                "users_updated_at_range_check",
                "users_deleted_at_range_check",
                "users_last_login_range_check",
                "users_bio_length_check",
            ],
        ),
    ]
