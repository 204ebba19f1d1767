from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("videos", "0006_id_user_key"), ("privacy", "0011_holds")]

    operations = [sql_file("0007_holds")]
