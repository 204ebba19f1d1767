from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("privacy", "0021_validate_batches_of_erasures")]

    operations = [sql_file("0022_kept_and_restricted_data")]
