import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

import findme.core.db.constraints
import findme.core.db.dates
import findme.core.db.expressions
from findme.core.db.operations import sql_file


class Migration(migrations.Migration):
    dependencies = [
        ("privacy", "0004_validate_audit_log_requests"),
    ]

    operations = [
        migrations.CreateModel(
            name="DataSubjectRequest",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("recorded_at", models.DateTimeField(db_default=findme.core.db.expressions.ClockTimestamp(), editable=False)),
                ("recorded_by_id", models.UUIDField(help_text="The staff member", null=True)),
                (
                    "recorded_by_account",
                    models.CharField(
                        db_default="", default="", help_text="The operating system account that ran the command", max_length=64
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("access", "Access (article 15)"),
                            ("rectification", "Rectification (article 16)"),
                            ("erasure", "Erasure (article 17)"),
                            ("restriction", "Restriction (article 18)"),
                            ("portability", "Portability (article 20)"),
                            ("objection", "Objection (article 21)"),
                            ("consent_withdrawal", "Withdrawal of consent (article 7 (3))"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "Received"),
                            ("identity_asked", "Waits for proof of identity"),
                            ("identified", "Identity confirmed"),
                            ("approved", "Approved"),
                            ("answered", "Answered"),
                            ("refused", "Refused"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        db_default="received",
                        default="received",
                        max_length=20,
                    ),
                ),
                ("user_id", models.UUIDField(help_text="The user, if the data subject is one", null=True)),
                ("contact", models.CharField(help_text="The address for the answer", max_length=500, null=True)),
                (
                    "processing",
                    models.CharField(
                        choices=[
                            ("embedding", "The vector of face and voice"),
                            ("matching", "Searches and matches"),
                            ("recordings", "Recordings of calls"),
                            ("statistics", "Statistics"),
                            ("marketing", "Direct marketing"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                ("received_on", models.DateField()),
                ("first_due_on", models.DateField(help_text="The last day for a refusal, which no extension moves")),
                ("due_on", models.DateField(help_text="The last day for the answer")),
                ("identity_asked_on", models.DateField(null=True)),
                ("identity_confirmed_on", models.DateField(null=True)),
                (
                    "identity_method",
                    models.CharField(
                        choices=[
                            ("login", "The request was made while logged in"),
                            ("email_code", "Code sent to the account's e-mail address"),
                            ("letter_code", "Code sent by letter to a known address"),
                            ("call_back", "Call to a known number"),
                            ("electronic_id", "Electronic identification"),
                            ("in_person", "In person, without a copy of the document"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                ("identity_confirmed_by_id", models.UUIDField(null=True)),
                ("identity_confirmed_by_account", models.CharField(db_default="", default="", max_length=64)),
                ("extension_informed_on", models.DateField(help_text="When the data subject was informed of the extension", null=True)),
                (
                    "extension_reason",
                    models.CharField(
                        choices=[("complexity", "Complexity of the request"), ("number", "Number of requests")],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                ("approved_at", models.DateTimeField(null=True)),
                ("approved_by_id", models.UUIDField(null=True)),
                ("approved_by_account", models.CharField(db_default="", default="", max_length=64)),
                ("stopped_on", models.DateField(help_text="When the processing was stopped", null=True)),
                (
                    "refusal_ground",
                    models.CharField(
                        choices=[
                            ("12_2", "12 (2): the data subject cannot be identified"),
                            ("12_5_unfounded", "12 (5) (b): manifestly unfounded"),
                            ("12_5_excessive", "12 (5) (b): excessive"),
                            ("23", "23: restricted by law"),
                            ("7_3", "7 (3): the processing is not based on consent"),
                            ("15_4", "15 (4): rights of others"),
                            ("16", "16: the data is accurate and complete"),
                            ("17_1", "17 (1): none of the grounds applies"),
                            ("17_3_a", "17 (3) (a): freedom of expression and information"),
                            ("17_3_b", "17 (3) (b): legal obligation or public task"),
                            ("17_3_c", "17 (3) (c): public health"),
                            ("17_3_d", "17 (3) (d): archiving, research or statistics"),
                            ("17_3_e", "17 (3) (e): legal claims"),
                            ("18_1", "18 (1): none of the grounds applies"),
                            ("20_1", "20 (1): not provided by the data subject, or not based on consent or contract"),
                            ("20_3", "20 (3): public task"),
                            ("20_4", "20 (4): rights of others"),
                            ("21_1", "21 (1): compelling legitimate grounds or legal claims, or another legal basis"),
                            ("21_6", "21 (6): task in the public interest"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                (
                    "informed_of_remedies",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Informed of the right to complain and of the judicial remedy"
                    ),
                ),
                (
                    "withdrawal_reason",
                    models.CharField(
                        choices=[
                            ("by_person", "The data subject withdrew the request"),
                            ("duplicate", "The same request is recorded twice"),
                            ("mistake", "Recorded by mistake"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                (
                    "closed_on",
                    models.DateField(help_text="When the data subject was answered, informed of the refusal, or withdrew", null=True),
                ),
            ],
            options={
                "db_table": "data_subject_requests",
                "default_permissions": ("view",),
                "permissions": [
                    ("handle_requests", "Can handle requests"),
                    ("decide_requests", "Can decide requests"),
                ],
                "indexes": [
                    models.Index(fields=["-closed_on", "due_on"], name="data_subject_requests_list_idx"),
                    models.Index(fields=["user_id"], name="data_subject_requests_user_idx"),
                    models.Index(
                        condition=models.Q(("contact__isnull", False)), fields=["closed_on"], name="data_subject_requests_contact"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                ["access", "rectification", "erasure", "restriction", "portability", "objection", "consent_withdrawal"],
                            )
                        ),
                        name="data_subject_requests_kind_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["received", "identity_asked", "identified", "approved", "answered", "refused", "withdrawn"])
                        ),
                        name="data_subject_requests_state_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("recorded_by_account__gt", ""), ("recorded_by_id__isnull", True)),
                            models.Q(("recorded_by_account", ""), ("recorded_by_id__isnull", False)),
                            _connector="OR",
                        ),
                        name="data_subject_requests_recorded_by_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("contact__regex", "[[:cntrl:]]"), _negated=True), models.Q(("contact", ""), _negated=True)
                        ),
                        name="data_subject_requests_contact_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("kind__in", ["objection", "consent_withdrawal"]),
                                ("processing__in", ["embedding", "matching", "recordings", "statistics", "marketing"]),
                            ),
                            models.Q(
                                models.Q(("kind__in", ["objection", "consent_withdrawal"]), _negated=True),
                                ("processing", ""),
                                ("stopped_on__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_processing_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("identity_confirmed_on__isnull", True),
                                ("identity_method", ""),
                                ("identity_confirmed_by_account", ""),
                                ("identity_confirmed_by_id__isnull", True),
                            ),
                            models.Q(
                                ("identity_confirmed_on__isnull", False),
                                ("identity_method__in", ["login", "email_code", "letter_code", "call_back", "electronic_id", "in_person"]),
                                models.Q(
                                    models.Q(("identity_confirmed_by_account__gt", ""), ("identity_confirmed_by_id__isnull", True)),
                                    models.Q(("identity_confirmed_by_account", ""), ("identity_confirmed_by_id__isnull", False)),
                                    _connector="OR",
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_identity_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("extension_informed_on__isnull", True), ("extension_reason", "")),
                            models.Q(
                                ("extension_informed_on__isnull", False),
                                ("extension_reason__in", ["complexity", "number"]),
                                models.Q(("kind", "consent_withdrawal"), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_extension_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("approved_at__isnull", True), ("approved_by_account", ""), ("approved_by_id__isnull", True)),
                            models.Q(
                                ("approved_at__isnull", False),
                                models.Q(
                                    models.Q(("approved_by_account__gt", ""), ("approved_by_id__isnull", True)),
                                    models.Q(("approved_by_account", ""), ("approved_by_id__isnull", False)),
                                    _connector="OR",
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_approval_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("approved_by_id", models.F("recorded_by_id")), _negated=True),
                            models.Q(("approved_by_id", models.F("user_id")), _negated=True),
                            models.Q(
                                ("approved_by_account", ""),
                                models.Q(("approved_by_account", models.F("recorded_by_account")), _negated=True),
                                _connector="OR",
                            ),
                        ),
                        name="data_subject_requests_approver_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("approved_at__isnull", True),
                                ("identity_asked_on__isnull", True),
                                ("identity_confirmed_on__isnull", True),
                                ("state", "received"),
                            ),
                            models.Q(
                                ("approved_at__isnull", True),
                                ("identity_asked_on__isnull", False),
                                ("identity_confirmed_on__isnull", True),
                                ("state", "identity_asked"),
                            ),
                            models.Q(("approved_at__isnull", True), ("identity_confirmed_on__isnull", False), ("state", "identified")),
                            models.Q(
                                ("approved_at__isnull", False),
                                ("identity_confirmed_on__isnull", False),
                                ("state__in", ["approved", "answered"]),
                            ),
                            ("state__in", ["refused", "withdrawn"]),
                            _connector="OR",
                        ),
                        name="data_subject_requests_state_columns_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("closed_on__isnull", False), ("state__in", ["answered", "refused", "withdrawn"])),
                            models.Q(
                                models.Q(("state__in", ["answered", "refused", "withdrawn"]), _negated=True), ("closed_on__isnull", True)
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_closed_on_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "answered"), _negated=True),
                            models.Q(("kind__in", ["objection", "consent_withdrawal"]), _negated=True),
                            ("stopped_on__isnull", False),
                            _connector="OR",
                        ),
                        name="data_subject_requests_stopped_on_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("informed_of_remedies", True), ("refusal_ground__gt", ""), ("state", "refused")),
                            models.Q(
                                models.Q(("state", "refused"), _negated=True), ("informed_of_remedies", False), ("refusal_ground", "")
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_refusal_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("refusal_ground", ""),
                                models.Q(
                                    ("kind", "access"), ("refusal_ground__in", ["12_2", "12_5_unfounded", "12_5_excessive", "23", "15_4"])
                                ),
                                models.Q(
                                    ("kind", "rectification"),
                                    ("refusal_ground__in", ["12_2", "12_5_unfounded", "12_5_excessive", "23", "16"]),
                                ),
                                models.Q(
                                    ("kind", "erasure"),
                                    (
                                        "refusal_ground__in",
                                        [
                                            "12_2",
                                            "12_5_unfounded",
                                            "12_5_excessive",
                                            "23",
                                            "17_1",
                                            "17_3_a",
                                            "17_3_b",
                                            "17_3_c",
                                            "17_3_d",
                                            "17_3_e",
                                        ],
                                    ),
                                ),
                                models.Q(
                                    ("kind", "restriction"),
                                    ("refusal_ground__in", ["12_2", "12_5_unfounded", "12_5_excessive", "23", "18_1"]),
                                ),
                                models.Q(
                                    ("kind", "portability"),
                                    ("refusal_ground__in", ["12_2", "12_5_unfounded", "12_5_excessive", "23", "20_1", "20_3", "20_4"]),
                                ),
                                models.Q(
                                    ("kind", "objection"),
                                    ("refusal_ground__in", ["12_2", "12_5_unfounded", "12_5_excessive", "23", "21_1", "21_6"]),
                                ),
                                models.Q(("kind", "consent_withdrawal"), ("refusal_ground__in", ["12_2", "7_3"])),
                                _connector="OR",
                            ),
                            models.Q(("processing", "marketing"), ("refusal_ground__in", ["21_1", "21_6"]), _negated=True),
                        ),
                        name="data_subject_requests_ground_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("refusal_ground__in", ["", "12_5_unfounded", "12_5_excessive"]),
                            models.Q(
                                ("identity_asked_on__isnull", False), ("identity_confirmed_on__isnull", True), ("refusal_ground", "12_2")
                            ),
                            models.Q(
                                models.Q(("refusal_ground__in", ["12_2", "12_5_excessive", "12_5_unfounded"]), _negated=True),
                                ("identity_confirmed_on__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="data_subject_requests_ground_identity_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "withdrawn"), ("withdrawal_reason__in", ["by_person", "duplicate", "mistake"])),
                            models.Q(models.Q(("state", "withdrawn"), _negated=True), ("withdrawal_reason", "")),
                            _connector="OR",
                        ),
                        name="data_subject_requests_withdrawal_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("identity_asked_on__gte", models.F("received_on")),
                            ("identity_confirmed_on__gte", models.F("received_on")),
                            ("identity_confirmed_on__gte", models.F("identity_asked_on")),
                            ("extension_informed_on__gte", models.F("received_on")),
                            ("stopped_on__gte", models.F("received_on")),
                            ("closed_on__gte", models.F("received_on")),
                            ("closed_on__gte", models.F("stopped_on")),
                        ),
                        name="data_subject_requests_order_check",
                    ),
                    findme.core.db.dates.SupportedDate(field="recorded_at", name="data_subject_requests_recorded_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="received_on", name="data_subject_requests_received_on_range_check"),
                    findme.core.db.dates.SupportedDate(field="first_due_on", name="data_subject_requests_first_due_on_range_check"),
                    findme.core.db.dates.SupportedDate(field="due_on", name="data_subject_requests_due_on_range_check"),
                    findme.core.db.dates.SupportedDate(
                        field="identity_asked_on", name="data_subject_requests_identity_asked_on_range_check"
                    ),
                    findme.core.db.dates.SupportedDate(
                        field="identity_confirmed_on", name="data_subject_requests_identity_confirmed_on_range_check"
                    ),
                    findme.core.db.dates.SupportedDate(
                        field="extension_informed_on", name="data_subject_requests_extension_informed_on_range_check"
                    ),
                    findme.core.db.dates.SupportedDate(field="approved_at", name="data_subject_requests_approved_at_range_check"),
                    findme.core.db.dates.SupportedDate(field="stopped_on", name="data_subject_requests_stopped_on_range_check"),
                    findme.core.db.dates.SupportedDate(field="closed_on", name="data_subject_requests_closed_on_range_check"),
                ],
            },
        ),
        migrations.CreateModel(
            name="RequestRecipient",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "request",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="recipients",
                        to="privacy.datasubjectrequest",
                    ),
                ),
                ("recipient", models.CharField(max_length=40)),
                ("informed_on", models.DateField(null=True)),
                (
                    "not_informed_reason",
                    models.CharField(
                        choices=[
                            ("impossible", "Impossible"),
                            ("disproportionate", "Disproportionate effort"),
                            ("not_disclosed", "The data was not disclosed to this recipient"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
            ],
            options={
                "db_table": "request_recipients",
                "default_permissions": (),
                "constraints": [
                    findme.core.db.constraints.ForeignKeyConstraint(
                        columns=["request_id"],
                        name="request_recipients_request_id_fkey",
                        on_delete="CASCADE",
                        to_columns=["id"],
                        to_table="data_subject_requests",
                    ),
                    models.UniqueConstraint(fields=("request", "recipient"), name="request_recipients_key"),
                    models.CheckConstraint(
                        condition=models.Q(("recipient__regex", "^[a-z][a-z0-9_-]*$")), name="request_recipients_recipient_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("not_informed_reason", ""),
                            models.Q(
                                ("informed_on__isnull", True),
                                ("not_informed_reason__in", ["impossible", "disproportionate", "not_disclosed"]),
                            ),
                            _connector="OR",
                        ),
                        name="request_recipients_reason_check",
                    ),
                    findme.core.db.dates.SupportedDate(field="informed_on", name="request_recipients_informed_on_range_check"),
                ],
            },
        ),
        sql_file("0005_requests"),
    ]
