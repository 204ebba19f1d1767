from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0012_erased_users"), ("privacy", "0002_audit_log")]

    operations = [sql_file("0013_erased_users_changed")]
