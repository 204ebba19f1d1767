from django.db import migrations

import findme.core.db.constraints


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_validate_reserved_email_check"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("videos", "0006_id_user_key"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="user",
            name="users_video_id_fkey",
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=findme.core.db.constraints.ForeignKeyConstraint(
                columns=["video_id", "id"],
                name="users_video_id_fkey",
                on_delete="SET NULL",
                set_null=["video_id"],
                to_columns=["id", "user_id"],
                to_table="videos",
                violation_error_message="This user has no such video.",
            ),
        ),
    ]
