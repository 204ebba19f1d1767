from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_pending_actions"), ("privacy", "0011_holds")]

    operations = [sql_file("0011_holds")]
