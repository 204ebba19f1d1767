from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the check is released before PostgreSQL reads the table."""

    dependencies = [("accounts", "0015_unconfirmed_staff")]

    operations = [ValidateChecks("User", ["users_unconfirmed_at_range_check"])]
