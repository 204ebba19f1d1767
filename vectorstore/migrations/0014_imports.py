import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import findme.core.db.constraints
from findme.core.db.dates import supported_dates
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("vectorstore", "0013_erased_users_changed"),
    ]

    operations = [
        migrations.CreateModel(
            name="VectorImport",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("place", models.TextField()),
                ("collection", models.CharField(max_length=255)),
                ("vector", models.CharField(blank=True, db_default="", default="", max_length=255)),
                ("last_point", models.TextField(blank=True, db_default="", default="")),
                ("counts", models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)),
                ("options", models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)),
                ("rejects", models.JSONField(null=True)),
                ("started_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "vector_imports",
                "constraints": [
                    models.UniqueConstraint(fields=("place", "collection", "vector"), name="vector_imports_key"),
                    *supported_dates("vector_imports", "started_at", "finished_at"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ImportDigest",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="import_digest",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("import_id", models.BigIntegerField()),
                ("point", models.BigIntegerField()),
                ("stored", models.BigIntegerField()),
            ],
            options={
                "db_table": "vector_import_digests",
                "constraints": [
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["user_id"],
                        name="vector_import_digests_user_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                ],
            },
        ),
        sql_file("0014_imports"),
    ]
