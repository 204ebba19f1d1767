from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("privacy", "0018_validate_changes_while_restricted")]

    operations = [sql_file("0019_ledger_chain")]
