from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0015_hiding_columns"), ("privacy", "0022_kept_and_restricted_data")]

    operations = [sql_file("0016_restricted_users")]
