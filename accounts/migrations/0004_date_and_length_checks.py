from django.db import migrations, models

from findme.core.db.checks import AddChecks
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import HasBytes


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_on_delete")]

    operations = [
        AddChecks(
            "User",
            [
                *supported_dates("users", "date_of_birth", "created_at", "updated_at", "deleted_at", "last_login"),
                models.CheckConstraint(
                    condition=HasBytes("bio", most=100_000),
                    name="users_bio_length_check",
                    violation_error_message="A bio can have at most 100,000 bytes (UTF-8): shorten it.",
                ),
            ],
        ),
    ]
