from django.db import migrations

import findme.schema.json_fields


class Migration(migrations.Migration):
    dependencies = [
        ("vectorstore", "0005_unique_vectors"),
    ]

    operations = [
        migrations.AlterField(
            model_name="profileembedding",
            name="location",
            field=findme.schema.json_fields.ExactJSONField(blank=True, null=True),
        ),
    ]
