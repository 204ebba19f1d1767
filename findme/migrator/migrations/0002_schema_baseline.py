from django.conf import settings
from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    """Before the first table of the guide, so that ``baseline`` can note each migration that it records."""

    dependencies = [("migrator", "0001_schema_version")]
    run_before = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [sql_file("0002_schema_baseline")]
