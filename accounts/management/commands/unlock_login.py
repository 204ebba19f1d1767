"""``unlock_login [USER] [--network ADDRESS]``: end the lock of a user, the limits of a network, or both."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from ipaddress import IPV6LENGTH, IPv4Network, ip_network
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from accounts.login.client import IPV6_PREFIX
from accounts.login.unlock import unlock
from findme.core.commands.base import FindmeCommand
from findme.core.commands.running import note_counts
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from privacy.users import find_user_id


@dataclass(frozen=True, slots=True)
class Unlocked:
    user_id: UUID | None
    network: str | None
    failures: int
    dry_run: bool


class Command(FindmeCommand):
    help = "Delete counted failed logins, so that a user or a network can log in immediately."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", nargs="?", help="a UUID, or an e-mail address (case does not matter)")
        parser.add_argument("--network", type=_network, metavar="ADDRESS", help="an IP address, or a network (192.0.2.0/24)")
        parser.add_argument("--dry-run", action="store_true", help="count the failures and change nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, user: str | None, network: str | None, dry_run: bool, json: bool, **options: Any) -> None:
        if user is None and network is None:
            raise UserFacingError("Neither USER nor --network is given: nothing was changed. Add USER, --network ADDRESS, or both.")
        user_id = None if user is None else find_user_id(user)
        unlocked = Unlocked(user_id, network, unlock(user_id, network, dry_run=dry_run), dry_run)
        note_counts(unlocked)
        if json:
            self.print_json(unlocked)
        elif not unlocked.failures:
            self.print_line("No failed login counts: nothing was locked.")
        else:
            self.print_line(
                f"{counted(unlocked.failures, 'failed login')} {'would be' if dry_run else 'was' if unlocked.failures == 1 else 'were'} forgotten."
            )


def _network(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither an IP address nor a network") from None
    if isinstance(network, IPv4Network):
        return str(network)
    if network.prefixlen == IPV6LENGTH and (mapped := network.network_address.ipv4_mapped) is not None:
        return str(mapped)
    # The backend counts attempts by /64.
    return str(network if network.prefixlen <= IPV6_PREFIX else network.supernet(new_prefix=IPV6_PREFIX))
