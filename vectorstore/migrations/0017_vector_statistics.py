from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0016_restricted_users")]

    operations = [sql_file("0017_vector_statistics")]
