from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0013_validate_restriction_checks"), ("privacy", "0022_kept_and_restricted_data")]

    operations = [sql_file("0014_reduced_data")]
