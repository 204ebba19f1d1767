from django.db import migrations

from findme.schema.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_validate_date_and_length_checks"), ("privacy", "0001_erased_users")]

    operations = [sql_file("0006_erased_users")]
