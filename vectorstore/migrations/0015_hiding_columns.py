from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [("vectorstore", "0014_imports"), ("accounts", "0012_restriction")]

    operations = [sql_file("0015_hiding_columns")]
