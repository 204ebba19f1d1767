import django.contrib.postgres.fields
from django.db import migrations, models

from findme.core.db.checks import AddChecks
from findme.core.db.expressions import HasAtMost, HasShortTexts
from findme.core.db.fields import RealField


class Migration(migrations.Migration):
    """Limit the sizes of lists. One row with 60 million interests made every search of the embedded store take 29 s."""

    dependencies = [
        ("vectorstore", "0009_validate_comparison_due"),
    ]

    operations = [
        migrations.AlterField(
            model_name="profileembedding",
            name="interests",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                blank=True,
                db_default=models.Value([], output_field=django.contrib.postgres.fields.ArrayField(models.TextField())),
                default=list,
                help_text="At most 100 texts, each with at most 100 characters.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="profileembedding",
            name="video_features",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=RealField(), blank=True, help_text="At most 1,024 finite numbers.", null=True, size=None
            ),
        ),
        AddChecks(
            "ProfileEmbedding",
            [
                models.CheckConstraint(
                    condition=HasAtMost("interests", most=100),
                    name="profile_embeddings_interests_count_check",
                    violation_error_message="A user has at most 100 interests.",
                ),
                models.CheckConstraint(
                    condition=HasShortTexts("interests", longest=100),
                    name="profile_embeddings_interests_length_check",
                    violation_error_message="An interest has at most 100 characters.",
                ),
                models.CheckConstraint(
                    condition=HasAtMost("video_features", most=1024),
                    name="profile_embeddings_video_features_count_check",
                    violation_error_message="Video features are at most 1,024 numbers.",
                ),
            ],
        ),
    ]
