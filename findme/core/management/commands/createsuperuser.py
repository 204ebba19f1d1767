"""Django's ``createsuperuser`` with the valid choices of a field in its questions and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.db.models import DateField, Field

from findme.core.commands.base import FindmeCommand
from findme.core.errors import UserFacingError


class Command(FindmeCommand, createsuperuser.Command):
    help = "Create a staff user with all permissions."
    after_interrupt = "No user was created."

    def handle(self, *args: Any, **options: Any) -> None:
        if options["interactive"] and not self.stdin.isatty():
            raise UserFacingError(
                "Standard input is not a terminal, so no question can be asked: no user was created. Add --no-input and the options, see --help."
            )
        with self._naming_choices():
            try:
                super().handle(*args, **options)
            except SystemExit as end:
                # Django exits after Ctrl-C.
                raise KeyboardInterrupt from end

    @contextmanager
    def _naming_choices(self) -> Iterator[None]:
        """Add the valid choices to Django's message for an invalid choice."""
        required = map(self.UserModel._meta.get_field, self.UserModel.REQUIRED_FIELDS)
        fields = [field for field in required if isinstance(field, Field) and _choices(field)]
        before = [field.error_messages for field in fields]
        for field in fields:
            field.error_messages = {
                **field.error_messages,
                "invalid_choice": f"%(value)r is not a valid choice for {field.name}. Use one of: {_choices(field)}.",
            }
        try:
            yield
        finally:
            for field, messages in zip(fields, before, strict=True):
                field.error_messages = messages

    def _get_input_message(self, field: Any, default: Any = None) -> str:
        message: str = super()._get_input_message(field, default)  # type: ignore[misc]  # the stubs do not have it
        hint = "YYYY-MM-DD" if isinstance(field, DateField) else _choices(field)
        return f"{message.removesuffix(': ')} ({hint}): " if hint else message


def _choices(field: Field[Any, Any]) -> str:
    return ", ".join(str(value) for value, _ in field.choices or () if value)
