"""``erasure_certificate``: print the signed certificate of an erasure."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from findme.core.commands.base import FindmeCommand
from privacy.certificates.issue import issue_certificate
from privacy.management.request_arguments import request_uuid


class Command(FindmeCommand):
    help = "Print the certificate of an erasure as a JWS: what was destroyed where and when, what was kept, and what is not purged yet."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", type=request_uuid, metavar="REQUEST", help="the UUID of the request")

    def handle(self, *args: Any, request: UUID, **options: Any) -> None:
        self.print_line(issue_certificate(request))
