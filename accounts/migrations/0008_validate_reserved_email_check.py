from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A migration of its own: the lock that adding the check takes is released before the table is read."""

    dependencies = [("accounts", "0007_reserved_email_check")]

    operations = [ValidateChecks("User", ["users_reserved_email_check"])]
