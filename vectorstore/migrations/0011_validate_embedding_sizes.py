from django.db import migrations

from findme.core.db.checks import ValidateChecks


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0010_embedding_sizes"),
    ]

    operations = [
        ValidateChecks(
            "ProfileEmbedding",
            [
                "profile_embeddings_interests_count_check",
                "profile_embeddings_interests_length_check",
                "profile_embeddings_video_features_count_check",
            ],
        ),
    ]
