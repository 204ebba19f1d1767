from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("accounts", "0012_restriction")]

    operations = [ValidateChecks("User", ["users_restricted_at_range_check", "users_objected_at_range_check"])]
