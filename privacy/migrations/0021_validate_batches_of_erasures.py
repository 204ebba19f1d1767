from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the check is released before PostgreSQL reads the table."""

    dependencies = [("privacy", "0020_batches_of_erasures")]

    operations = [ValidateChecks("Erasure", ["erasures_users_check"])]
