from django.db import migrations

import findme.core.values.json_fields


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0005_unique_vectors"),
    ]

    operations = [
        migrations.AlterField(
            model_name="profileembedding",
            name="location",
            field=findme.core.values.json_fields.ExactJSONField(blank=True, null=True),
        ),
    ]
