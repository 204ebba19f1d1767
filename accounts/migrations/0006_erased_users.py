from django.db import migrations

from findme.core.db.operations import sql_file

NOTE_ANONYMIZED_USERS = """
    INSERT INTO erased_users (user_id, deleted)
    SELECT id, false FROM users WHERE email LIKE 'deleted\\_%' AND email = 'deleted_' || id::text || '@findme.ai'
    ON CONFLICT DO NOTHING
"""
"""Add the users that were anonymized before the triggers existed, or while a rollback had dropped them."""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_validate_date_and_length_checks"), ("privacy", "0001_erased_users")]

    operations = [sql_file("0006_erased_users"), migrations.RunSQL(NOTE_ANONYMIZED_USERS, migrations.RunSQL.noop)]
