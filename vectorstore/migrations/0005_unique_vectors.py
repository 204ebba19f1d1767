from django.db import migrations, models

from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0004_validate_date_checks"),
    ]

    operations = [
        migrations.AddField(
            model_name="queueentry",
            name="cause",
            field=models.CharField(
                blank=True,
                choices=[("", "Change"), ("deletion", "Deletion"), ("scan", "Scan"), ("recheck", "Recheck")],
                db_default="",
                default="",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="storestate",
            name="skipped_versions",
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        sql_file("0005_unique_vectors"),
    ]
