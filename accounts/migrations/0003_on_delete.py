from django.db import migrations

from findme.core.db.operations import SetOnDelete


class Migration(migrations.Migration):
    """Let Django's own foreign keys to users cascade in the database.

    Otherwise a DELETE in psql fails for a user with a group or an admin log entry.
    """

    dependencies = [("accounts", "0002_user_video"), ("admin", "0003_logentry_add_action_flag_choices")]

    operations = [
        SetOnDelete("users_groups", "user_id"),
        SetOnDelete("users_user_permissions", "user_id"),
        SetOnDelete("django_admin_log", "user_id"),
    ]
