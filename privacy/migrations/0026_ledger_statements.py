from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("privacy", "0025_validate_confirmed_staff")]

    operations = [sql_file("0026_ledger_statements")]
