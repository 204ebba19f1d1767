import django.contrib.postgres.fields
import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import findme.core.db.constraints
import findme.core.db.expressions
import findme.core.db.fields
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProfileEmbedding",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="embedding",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("vector", django.contrib.postgres.fields.ArrayField(base_field=findme.core.db.fields.RealField(), size=None)),
                ("location", models.JSONField(blank=True, null=True)),
                (
                    "interests",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=models.Value(
                            [], output_field=django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)
                        ),
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "video_features",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=findme.core.db.fields.RealField(), blank=True, null=True, size=None
                    ),
                ),
                ("model", models.CharField(blank=True, db_default="", default="", max_length=255)),
                ("created_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "profile_embeddings",
                "constraints": [
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.HasLength("vector", length=512),
                        name="profile_embeddings_vector_length_check",
                        violation_error_message="A vector has 512 numbers.",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsFinite("vector"),
                        name="profile_embeddings_vector_finite_check",
                        violation_error_message="A vector's numbers are finite.",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsNotZero("vector"),
                        name="profile_embeddings_vector_nonzero_check",
                        violation_error_message="A vector of zeros has no direction.",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsGeoPoint("location"),
                        name="profile_embeddings_location_check",
                        violation_error_message="A location is an object of lat (-90 to 90) and lon (-180 to 180).",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.HasOnlyTexts("interests"),
                        name="profile_embeddings_interests_check",
                        violation_error_message="An interest must not be empty.",
                    ),
                    models.CheckConstraint(
                        condition=findme.core.db.expressions.IsFinite("video_features"),
                        name="profile_embeddings_video_features_check",
                        violation_error_message="Video features are finite numbers.",
                    ),
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["user_id"],
                        name="profile_embeddings_user_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="users",
                    ),
                ],
            },
        ),
        sql_file("0001_profile_embeddings"),
    ]
