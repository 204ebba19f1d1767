from django.db import migrations, models

from findme.migrator.concurrently import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("notebook", "0001_initial")]

    operations = [AddIndexConcurrently("Note", models.Index(fields=["text"], name="idx_notes_text"))]
