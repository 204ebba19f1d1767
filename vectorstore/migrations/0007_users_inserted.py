from django.db import migrations

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0006_exact_location"),
    ]

    operations = [
        sql_file("0007_users_inserted"),
    ]
