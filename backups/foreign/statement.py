"""One statement of a plain dump, as far as it was read: where it ends for psql, and what happens to it."""

from __future__ import annotations

from backups.foreign.statements import Verdict, judge, require_part_of_body

MOST_WORDS = 1000
PART_WORDS = 2


class Statement:
    """Words outside strings and parentheses, in lower case. A string is ``'``, and a quoted name is ``"``."""

    def __init__(self) -> None:
        self.words: list[bytes] = []
        self._parentheses = 0
        self._blocks = 0
        # The first words after a semicolon in the body of a function.
        self._part: list[bytes] | None = None

    def add(self, word: bytes) -> None:
        if self._parentheses:
            return
        if len(self.words) >= MOST_WORDS:
            # The first and the last words decide.
            del self.words[MOST_WORDS // 2]
        self.words.append(word)
        if self._part is not None and len(self._part) < PART_WORDS:
            self._part.append(word)
        if _makes_function(self.words):
            self._count_blocks(word)

    def open_parenthesis(self) -> None:
        self._parentheses += 1

    def close_parenthesis(self) -> None:
        self._parentheses = max(0, self._parentheses - 1)

    def ends_at_semicolon(self) -> bool:
        """Return whether psql ends the statement at the semicolon that was read. Raise Refused for what no body of a function has."""
        if self._parentheses:
            return False
        if not self._blocks:
            return True
        require_part_of_body(self._part or ())
        self._part = []
        return False

    def verdict(self, text: bytes, server_major: int, *, is_first_part: bool) -> Verdict:
        """Return what happens to the whole statement. Raise Refused."""
        require_part_of_body(self._part or ())
        return judge(self.words, text, server_major, is_first_part=is_first_part)

    def _count_blocks(self, word: bytes) -> None:
        """Count as psql does: a CASE in a block has an END too."""
        if word == b"begin" or (word == b"case" and self._blocks):
            self._blocks += 1
        elif word == b"end" and self._blocks:
            self._blocks -= 1


def _makes_function(words: list[bytes]) -> bool:
    """Return whether the statement is CREATE [OR REPLACE] FUNCTION or PROCEDURE, whose body can have semicolons."""
    if words[0] != b"create":
        return False
    kind = words[3:4] if words[1:3] == [b"or", b"replace"] else words[1:2]
    return kind in ([b"function"], [b"procedure"])
