from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("videos", "0007_holds"), ("privacy", "0022_kept_and_restricted_data")]

    operations = [sql_file("0008_restricted_users")]
