from django.db import migrations, models
from django.db.models import Q, Value
from django.db.models.functions import Cast, Concat

from findme.core.db.checks import AddChecks


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_erased_users")]

    operations = [
        AddChecks(
            "User",
            [
                models.CheckConstraint(
                    condition=~Q(email__iregex=r"^deleted_[0-9a-f-]{36}@findme\.ai$")
                    | Q(email=Concat(Value("deleted_"), Cast("id", models.CharField()), Value("@findme.ai"))),
                    name="users_reserved_email_check",
                    violation_error_message="This address is reserved for an anonymized user.",
                ),
            ],
        ),
    ]
