from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    """A separate migration, so that the lock for adding the checks is released before PostgreSQL reads the table."""

    dependencies = [("privacy", "0024_confirmed_staff")]

    operations = [ValidateChecks("AuditEntry", ["audit_log_action_check", "audit_log_target_check"])]
