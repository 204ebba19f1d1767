from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the check is released before PostgreSQL reads the table."""

    dependencies = [("accounts", "0007_reserved_email_check")]

    operations = [ValidateChecks("User", ["users_reserved_email_check"])]
