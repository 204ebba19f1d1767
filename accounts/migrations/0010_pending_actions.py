from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_own_video"), ("privacy", "0007_pending_actions")]

    operations = [sql_file("0010_pending_actions")]
