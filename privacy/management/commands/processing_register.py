"""``processing_register``: print the register of processing activities (GDPR, article 30)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from privacy.processing_register import STATED_BY_OPERATOR, Activity, ProcessingRegister, processing_register


class Command(FindmeCommand):
    help = "Print the register of processing activities (GDPR, article 30), from the declarations of all personal data."
    after_interrupt = "Nothing was changed."
    requires_system_checks = ["privacy"]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        register = processing_register()
        if json:
            self.print_json(register)
        for line in [] if json else _lines(register):
            self.print_line(line)
        if register.missing:
            self.exit_with_findings()


def _lines(register: ProcessingRegister) -> Iterator[str]:
    yield "Register of processing activities (GDPR, article 30)"
    for name, what in STATED_BY_OPERATOR.items():
        yield f"{what}: missing. Set {name}." if name in register.missing else f"{what}: {register.stated[name]}"
    if register.rules_not_approved:
        yield f"The rules of RETENTION_RULES are left out: their version {register.rules_not_approved} is not approved, so they delete nothing."
    for limit in register.accounts_erased:
        yield f"Accounts are erased by a rule: {limit}"
    for activity in register.activities:
        yield ""
        yield from _activity_lines(activity)
    yield ""
    yield "Models without personal data:"
    for label, reason in register.models_without_personal_data.items():
        yield f"  {label}: {reason}"


def _activity_lines(activity: Activity) -> Iterator[str]:
    yield f"Purpose: {activity.purpose}"
    yield f"  Legal basis: article {', article '.join(activity.legal_bases)}"
    yield f"  Data subjects: {', '.join(activity.data_subjects)}"
    for data in activity.categories:
        yield f"  Data: {data.category}"
        yield f"    Recipients: {'; '.join(data.recipients) or 'staff only'}"
        yield f"    Time limit: {'; '.join(data.time_limits)}"
        for place, names in data.places.items():
            yield f"    In {place}: {', '.join(names)}"
