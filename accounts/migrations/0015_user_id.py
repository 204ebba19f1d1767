from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_reduced_data")]

    operations = [sql_file("0015_user_id")]
