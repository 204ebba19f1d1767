from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    """The first of all migrations, so the view shows every later one, and a complete rollback removes it last."""

    run_before = [("contenttypes", "0001_initial"), ("sessions", "0001_initial"), ("axes", "0001_initial")]

    operations = [sql_file("0001_schema_version")]
