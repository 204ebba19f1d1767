from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("calls", "0005_erased_users"), ("privacy", "0011_holds")]

    operations = [sql_file("0006_holds")]
