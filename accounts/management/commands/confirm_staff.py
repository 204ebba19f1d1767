"""``confirm_staff [--list] [--all] [USER]...``: enable accounts again that a restore has disabled."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.confirmation import Unconfirmed, confirm, unconfirmed
from findme.core.commands.base import FindmeCommand
from findme.core.plurals import counted, plural
from findme.core.program import NOT_DONE
from privacy.users import find_user_id


class Command(FindmeCommand):
    help = "Enable staff accounts that were disabled because a backup was restored: their rights and passwords are those of the backup."
    after_interrupt = "Run it again: an account that was confirmed stays confirmed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("users", metavar="USER", nargs="*", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--all", action="store_true", help="confirm every account that is disabled")
        parser.add_argument(
            "--list", action="store_true", help="change nothing; print the disabled accounts with their rights; exit 1 if there is one"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, users: list[str], json: bool, **options: Any) -> None:
        if options["list"]:
            if users or options["all"]:
                raise CommandError("--list changes nothing: give neither USER nor --all with it.", returncode=NOT_DONE)
            self._list(unconfirmed(), as_json=json)
            return
        if bool(users) == options["all"]:
            raise CommandError("Name the accounts to confirm, or use --all: nothing was changed. --list shows them.", returncode=NOT_DONE)
        ids = [one.id for one in unconfirmed()] if options["all"] else [find_user_id(text) for text in users]
        confirmed = confirm(ids)
        left = len(unconfirmed())
        if json:
            self.print_json({"confirmed": confirmed, "left": left})
            return
        self.print_line(
            f"{counted(len(confirmed), 'account')} {plural(len(confirmed), 'was', 'were')} confirmed, {left:,} {plural(left, 'is', 'are')} still disabled."
        )
        if confirmed:
            self.print_line("Their passwords and rights are those of the backup. Change what has changed since: manage.py changepassword.")

    def _list(self, found: list[Unconfirmed], *, as_json: bool) -> None:
        if as_json:
            self.print_json({"unconfirmed": found})
        elif not found:
            self.print_line("No account is disabled.")
        for one in [] if as_json else found:
            self.print_line(f"{one.email} ({one.id}): {_rights(one)}")
        if found:
            self.exit_with_findings()


def _rights(one: Unconfirmed) -> str:
    if one.is_superuser:
        return "superuser"
    groups = f"groups {', '.join(one.groups)}" if one.groups else "no group"
    return f"{'staff' if one.is_staff else 'no staff'}, {groups}, {', '.join(one.permissions) or 'no permission'}"
