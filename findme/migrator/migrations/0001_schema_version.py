from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    """The first of all, so that whatever is applied is seen in the view, and rolling everything back takes it away last."""

    run_before = [("contenttypes", "0001_initial"), ("sessions", "0001_initial"), ("axes", "0001_initial")]

    operations = [sql_file("0001_schema_version")]
