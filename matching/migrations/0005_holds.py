from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("matching", "0004_erased_users"), ("privacy", "0011_holds")]

    operations = [sql_file("0005_holds")]
