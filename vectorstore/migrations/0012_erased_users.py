from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0011_validate_embedding_sizes"), ("privacy", "0001_erased_users")]

    operations = [sql_file("0012_erased_users")]
