"""What happens to a statement of a plain dump: it is kept, left out, or the whole dump is refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from enum import Enum

TRANSACTION = frozenset({b"begin", b"start", b"commit", b"end"})
"""The whole dump is one transaction. ``pg_dump`` writes BEGIN and COMMIT around large objects."""
BREAKS_TRANSACTION = frozenset({b"rollback", b"abort", b"savepoint", b"release"})
DEFINES = frozenset({b"create", b"alter", b"drop"})
OF_SERVER = frozenset({b"role", b"user", b"group", b"tablespace", b"system"})
NEVER_IN_BODIES = (TRANSACTION - {b"end"}) | BREAKS_TRANSACTION | DEFINES | {b"copy", b"set", b"reset"}
HELD = frozenset({b"alter", b"drop", b"grant", b"revoke", b"set", *TRANSACTION})
"""The first words of the statements that can be left out. They are short."""
UNSAFE_ENCODINGS = frozenset({b"sjis", b"shiftjis", b"shiftjis2004", b"shift_jis_2004", b"big5", b"gbk", b"uhc", b"gb18030", b"johab"})
"""Encodings in which a byte of a longer character can be a backslash or a quote."""
ENCODING = re.compile(rb"^\s*set\s+(?:client_encoding\s*(?:=|to)|names)\s*'?([\w-]+)", re.IGNORECASE)
TRANSACTION_TIMEOUT = 17
"""The version of the server since which it has the setting ``transaction_timeout``, which newer programs set."""


class Verdict(Enum):
    KEEP = "keep"
    OMIT = "omit"
    """It changes nothing in a restore."""
    OMIT_RIGHTS = "omit rights"
    """It names an owner or grants a privilege: all belongs to the role of the restore."""


class Refused(Exception):
    """The dump cannot be restored. ``found`` and ``advice`` are the parts of the message."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found, self.advice = found, advice


def judge(words: Sequence[bytes], text: bytes, server_major: int, *, is_first_part: bool) -> Verdict:
    """Return what happens to the statement with these words outside parentheses. Raise Refused.

    ``text`` is the whole statement if its first word is in ``HELD``. ``is_first_part`` is whether no CREATE came before it.
    """
    if not words:
        return Verdict.KEEP
    first, second, *_ = (*words, b"")
    if first in TRANSACTION:
        if len(words) == 1 or (len(words) == 2 and second in (b"transaction", b"work")):
            return Verdict.OMIT
        raise _transaction(words)
    if first in BREAKS_TRANSACTION or (first, second) == (b"prepare", b"transaction"):
        raise _transaction(words)
    if first in DEFINES:
        _refuse_server(words)
    if first == b"copy" and not _reads_stdin(words):
        raise Refused("COPY with a file, a program or another direction", "Dump the database again with pg_dump.")
    if first == b"drop" and is_first_part and (b"if", b"exists") not in _pairs(words):
        raise Refused("DROP without IF EXISTS (pg_dump --clean)", "Dump the database again without --clean, or with --if-exists.")
    if first == b"set":
        return _judge_set(words, text, server_major)
    return Verdict.OMIT_RIGHTS if _is_about_rights(words) else Verdict.KEEP


def require_part_of_body(words: Sequence[bytes]) -> None:
    """Raise Refused for a statement that the body of a function (BEGIN ATOMIC) cannot have: psql would send it with the others."""
    first, second, *_ = (*words, b"", b"")
    if first in NEVER_IN_BODIES or (first, second) == (b"prepare", b"transaction"):
        raise _transaction(words)


def _transaction(words: Sequence[bytes]) -> Refused:
    return Refused(
        f"{_named(words[:2])}, which would end the one transaction of the restore",
        "Dump the database again with pg_dump --format=custom.",
    )


def _refuse_server(words: Sequence[bytes]) -> None:
    second, third, *_ = (*words[1:], b"", b"")
    if second == b"database":
        raise Refused(
            f"{_named(words[:2])} (pg_dump --create)",
            "Dump the database again without --create, or delete the statements about the database and \\connect.",
        )
    if second in OF_SERVER and third != b"mapping":
        raise Refused(f"{_named(words[:2])}, which is not part of one database (pg_dumpall)", "Dump the database alone, with pg_dump.")


def _reads_stdin(words: Sequence[bytes]) -> bool:
    return (b"from", b"stdin") in _pairs(words)


def _judge_set(words: Sequence[bytes], text: bytes, server_major: int) -> Verdict:
    name = words[1] if len(words) > 1 else b""
    if words[1:3] == [b"session", b"authorization"]:
        return Verdict.OMIT_RIGHTS
    if name == b"transaction_timeout" and server_major < TRANSACTION_TIMEOUT:
        return Verdict.OMIT
    if b"standard_conforming_strings" in words and words[-1] != b"on":
        raise Refused(
            "SET standard_conforming_strings to another value than on",
            "Dump the database again with PGOPTIONS='-c standard_conforming_strings=on'.",
        )
    if (found := ENCODING.match(text)) and found[1].lower() in UNSAFE_ENCODINGS:
        raise Refused(f"the encoding {found[1].decode()}", "Dump the database again with pg_dump --encoding=UTF8.")
    return Verdict.KEEP


def _is_about_rights(words: Sequence[bytes]) -> bool:
    if words[0] in (b"grant", b"revoke") or list(words[:3]) == [b"alter", b"default", b"privileges"]:
        return True
    return words[0] == b"alter" and list(words[-3:-1]) == [b"owner", b"to"] and b"rename" not in words


def _pairs(words: Sequence[bytes]) -> set[tuple[bytes, bytes]]:
    return set(itertools.pairwise(words))


def _named(words: Sequence[bytes]) -> str:
    return b" ".join(words).upper().decode("ascii", "replace")
