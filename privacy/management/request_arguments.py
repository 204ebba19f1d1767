"""Arguments of the actions of ``privacy_request``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import date
from uuid import UUID

from django.db.models import TextChoices

from findme.core.commands.arguments import at_least_one
from privacy.models.request_choices import (
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    State,
    WithdrawalReason,
)

LISTED = 1000
"""Most requests that ``list`` shows by default."""


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-12-31") from None


def request_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not the UUID of a request; manage.py privacy_request list shows them") from None


def _add_choice(parser: ArgumentParser, name: str, choices: type[TextChoices], about: str, *, required: bool = True) -> None:
    parser.add_argument(
        name, choices=choices.values, required=required, metavar=name.lstrip("-").upper(), help=f"{about}: {', '.join(choices.values)}"
    )


def _add_day(parser: ArgumentParser, name: str, about: str) -> None:
    parser.add_argument(name, type=day, metavar="DATE", help=f"{about} (default: today)")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=request_uuid, metavar="ID", help="the UUID of the request")


def _add_record(parser: ArgumentParser) -> None:
    _add_choice(parser, "--kind", Kind, "the right that is used")
    parser.add_argument("--user", metavar="USER", help="the data subject, if it is a user: a UUID, or an e-mail address")
    parser.add_argument(
        "--contact",
        metavar="ADDRESS",
        help="the address for the answer; - reads it from standard input (default: the account's address for an erasure, else none)",
    )
    _add_choice(parser, "--processing", Processing, "what an objection or a withdrawal of consent is about", required=False)
    _add_day(parser, "--received-on", "when the request arrived")


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also closed requests")
    parser.add_argument("--late", action="store_true", help="only requests that are open or were closed after their deadline")
    _add_choice(parser, "--state", State, "only this state", required=False)
    _add_choice(parser, "--kind", Kind, "only this kind", required=False)
    parser.add_argument("--limit", type=at_least_one, default=LISTED, metavar="N", help="show at most N (default %(default)s)")


def _add_show(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("--contact", action="store_true", help="also show the contact address, which is personal data")


def _add_ask_identity(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_day(parser, "--on", "when the data subject was asked")


def _add_confirm_identity(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_choice(parser, "--method", Method, "how the identity was confirmed")
    parser.add_argument("--user", metavar="USER", help="the user that the data subject is, if the request names none yet")
    _add_day(parser, "--on", "when it was confirmed")


def _add_extend(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_choice(parser, "--reason", ExtensionReason, "the reason")
    _add_day(parser, "--informed-on", "when the data subject was informed")


def _add_refuse(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_choice(parser, "--ground", Ground, "the article")
    parser.add_argument(
        "--informed-of-remedies",
        action="store_true",
        help="the data subject was informed of the ground, of the right to complain, and of the judicial remedy",
    )
    _add_day(parser, "--informed-on", "when the data subject was informed")


def _add_stop(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_day(parser, "--on", "when the processing was stopped")


def _add_answer(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_day(parser, "--on", "when the data subject was answered")


def _add_withdraw(parser: ArgumentParser) -> None:
    _add_id(parser)
    _add_choice(parser, "--reason", WithdrawalReason, "the reason")
    _add_day(parser, "--on", "when it was withdrawn")


def _add_tell_recipient(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("recipient", metavar="RECIPIENT", help="a name of REQUEST_RECIPIENTS")
    outcome = parser.add_mutually_exclusive_group()
    outcome.add_argument("--on", type=day, metavar="DATE", help="when the recipient was informed (default: today)")
    outcome.add_argument(
        "--not-informed",
        choices=NotInformedReason.values,
        metavar="REASON",
        help=f"why the recipient is not informed: {', '.join(NotInformedReason.values)}",
    )


def _add_set_contact(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("contact", metavar="ADDRESS", help="the address for the answer; - reads it from standard input")


ACTIONS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "record": ("record a request, and print its deadline", _add_record),
    "list": ("list the open requests by their deadline, without personal data", _add_list),
    "show": ("show one request", _add_show),
    "ask-identity": ("note that the data subject was asked for proof of identity: the deadline pauses", _add_ask_identity),
    "confirm-identity": ("note how the identity was confirmed: the deadline runs on", _add_confirm_identity),
    "extend": ("extend the deadline by two months", _add_extend),
    "approve": ("approve a request that another account recorded", _add_id),
    "erase": ("carry out an approved erasure now, or what is left of it", _add_id),
    "refuse": ("refuse a request", _add_refuse),
    "stop": ("note that the processing of an objection or a withdrawal of consent is stopped", _add_stop),
    "answer": ("close a request that was answered", _add_answer),
    "withdraw": ("close a request that was withdrawn or recorded wrongly", _add_withdraw),
    "tell-recipient": ("tick off a recipient of the data", _add_tell_recipient),
    "set-contact": ("correct the contact address", _add_set_contact),
}
"""Help, and the arguments of each action."""
