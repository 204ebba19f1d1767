from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("videos", "0005_erased_users"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="video",
            constraint=models.UniqueConstraint(fields=("id", "user"), name="videos_id_user_key"),
        ),
    ]
