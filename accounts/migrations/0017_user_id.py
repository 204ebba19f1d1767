from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("accounts", "0016_validate_unconfirmed_staff")]

    operations = [sql_file("0017_user_id")]
