"""Search for users similar to a user or to a vector."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from rich import box
from rich.console import Console
from rich.table import Table

from accounts.models import User
from findme.core.commands.base import FindmeCommand
from privacy.users import find_user_id
from vectorstore.ingest.formats.vector_file import read_vector
from vectorstore.search.criteria import Near, Place, SearchQuery
from vectorstore.search.engine import Hit, search

NEGATIVE_NUMBER = re.compile(r"-\.?[0-9]")


class Command(FindmeCommand):
    help = "Search for users similar to a user or a vector. Finds active, verified users that PostgreSQL allows to be shown. Best first."
    after_interrupt = "Nothing was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        # Otherwise argparse treats a southern latitude as an option: --near -33.9,18.4,20
        parser._negative_number_matcher = NEGATIVE_NUMBER
        like = parser.add_mutually_exclusive_group(required=True)
        like.add_argument("--user", metavar="USER", help="a user's UUID or e-mail address: search by their vector")
        like.add_argument("--vector", type=Path, metavar="FILE", help="a JSON array of 512 numbers, or a .npy file")
        parser.add_argument("--gender", action="append", default=[], choices=User.Gender.values, help="may be repeated")
        parser.add_argument("--min-age", type=int, metavar="YEARS")
        parser.add_argument("--max-age", type=int, metavar="YEARS")
        parser.add_argument("--near", metavar="LAT,LON,KM", help="at most KM kilometers from this place")
        parser.add_argument("--interest", action="append", default=[], help="may be repeated: users with at least one of them")
        parser.add_argument(
            "--required-interest", action="append", default=[], metavar="INTEREST", help="may be repeated: users with all of them"
        )
        parser.add_argument("--exclude", action="append", default=[], metavar="USER", help="may be repeated: users to leave out")
        parser.add_argument("--min-score", type=float, metavar="SCORE", help="minimum score, from -1 to 1")
        parser.add_argument("--offset", type=int, default=0, metavar="N", help="skip the first N")
        parser.add_argument("--after", metavar="SCORE:ID", help="continue after this user, the last of the previous page")
        parser.add_argument("--limit", type=int, default=10, help="maximum number of users (default: 10)")
        parser.add_argument("--json", action="store_true", help="print one array, best first, of objects with user_id and score")

    def handle(self, *args: Any, **options: Any) -> None:
        hits = search(_query(options))
        if options["json"]:
            self.print_json([{"user_id": hit.user_id, "score": hit.score} for hit in hits])
        elif hits:
            self.print_line(_table(hits, options["offset"] + 1))
            if len(hits) == options["limit"]:
                self.print_line(f"Next page: --after {hits[-1].place}")
        else:
            self.print_line("No users found.")


def _query(options: dict[str, Any]) -> SearchQuery:
    return SearchQuery(
        user_id=None if options["user"] is None else find_user_id(options["user"]),
        vector=None if options["vector"] is None else read_vector(options["vector"]),
        genders=options["gender"],
        min_age=options["min_age"],
        max_age=options["max_age"],
        near=None if options["near"] is None else Near.parse(options["near"]),
        interests=options["interest"],
        all_interests=options["required_interest"],
        exclude=[find_user_id(user) for user in options["exclude"]],
        min_score=options["min_score"],
        offset=options["offset"],
        after=None if options["after"] is None else Place.parse(options["after"]),
        limit=options["limit"],
    )


def _table(hits: Sequence[Hit], first: int) -> str:
    table = Table("", "Score", "Age", "Gender", "Id", box=box.MARKDOWN)
    for column in table.columns[:3]:
        column.justify = "right"
    for rank, hit in enumerate(hits, first):
        table.add_row(str(rank), f"{hit.score:.4f}", str(hit.age), hit.gender, str(hit.user_id))
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get().strip()
