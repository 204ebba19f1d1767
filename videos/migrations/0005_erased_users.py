from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("videos", "0004_exact_metadata"), ("privacy", "0001_erased_users")]

    operations = [sql_file("0005_erased_users")]
