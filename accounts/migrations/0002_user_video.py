import django.db.models.deletion
from django.db import migrations, models

import findme.core.db.constraints


class Migration(migrations.Migration):
    """A separate migration, because users and videos refer to each other."""

    dependencies = [("accounts", "0001_initial"), ("videos", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="video",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="videos.video",
            ),
        ),
        migrations.AddIndex(model_name="user", index=models.Index(fields=["video"], name="idx_users_video_id")),
        migrations.AddConstraint(
            model_name="user",
            constraint=findme.core.db.constraints.ForeignKeyConstraint(
                columns=["video_id"],
                name="users_video_id_fkey",
                on_delete="SET NULL",
                to_columns=["id"],
                to_table="videos",
            ),
        ),
    ]
