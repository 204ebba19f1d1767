from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("matching", "0003_validate_date_checks"), ("privacy", "0001_erased_users")]

    operations = [sql_file("0004_erased_users")]
