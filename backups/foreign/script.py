"""Read a plain dump as psql does, and let pass what may run.

psql reads a script line by line. A backslash outside strings, comments and rows begins a command of psql, which can start programs. So this reads
strings, quoted names, dollar quotes, comments and the rows of COPY by psql's own rules (``psqlscan.l``), with constant memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from backups.foreign.statement import Statement
from backups.foreign.statements import HELD, Refused, Verdict
from findme.core.errors import UserFacingError

LONGEST_TOKEN = 1 << 20
"""Bytes of the longest name, or comment of one line, that is kept in memory."""
LONGEST_HELD = 64 * 1024
"""Bytes of the longest statement that can be left out."""
HEADER = b"-- PostgreSQL database dump"
TRAILER = b"-- PostgreSQL database dump complete"
CLUSTER = b"-- PostgreSQL database cluster dump"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

CODE = re.compile(
    rb"(?P<other>[^A-Za-z0-9_\x80-\xff'\"$;()\\/\-]+)"
    rb"|(?P<number>(?:0[xX](?:_?[0-9A-Fa-f])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+"
    rb"|\$?[0-9](?:_?[0-9])*(?:[eE][+-]?[0-9](?:_?[0-9])*)?)(?P<junk>[A-Za-z_\x80-\xff])?)"
    rb"|(?P<escape>[eE]')"
    rb"|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"
    rb"|(?P<quote>')"
    rb"|(?P<name>\")"
    rb"|(?P<comment>--[^\n\r]*)"
    rb"|(?P<block>/\*)"
    rb"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
    rb"|(?P<end>;)|(?P<open>\()|(?P<close>\))"
    rb"|(?P<command>\\)"
    rb"|(?P<single>[$/\-])"
)
GROWS = frozenset({"word", "number", "comment"})
"""Tokens that the next bytes can make longer, or another token."""
BEGINS = re.compile(rb"(?:[/\-]|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?)\Z")
"""What can be the beginning of a comment or of a dollar quote, at the end of what was read."""
STRINGS = re.compile(rb"(?:[^'\"$;()\\/\-]*[^'\"$;()\\/\-&\w\x80-\xff]'[^']*'(?:'[^']*')*)+")
"""Values of an INSERT, up to the end of a string that is no ``E'...'``. They are read at once, since dumps with INSERT have millions."""
ESCAPED_END = re.compile(rb"[\\']")
BLOCK_PART = re.compile(rb"/\*|\*/")
RESTRICTION = re.compile(rb"\\(?:un)?restrict[ \t]+[A-Za-z0-9]+[ \t\r]*(?:\n|\Z)")
COMMAND = re.compile(rb"\\[!-~]{0,20}")
COPY_BEGIN = re.compile(rb"[ \t\r]*\n")
COPY_END_HERE = re.compile(rb"\\\.\r?\n")
COPY_END = re.compile(rb"\n\\\.\r?\n")
NEEDS_MORE = -1
AS_WRITTEN = "Name a dump of pg_dump as it was written."


class Script:
    """A filter: ``feed`` returns what psql may read of the dump so far, ``finish`` the rest. Both raise UserFacingError.

    Statements about owners and privileges are left out, and ``rights_left_out`` counts them.
    """

    def __init__(self, name: str, server_major: int) -> None:
        self.rights_left_out = 0
        self._name = name
        self._server_major = server_major
        self._buffer = b""
        self._emitted = 0
        self._is_final = False
        self._lines = 0
        self._output = bytearray()
        self._is_first_chunk = True
        self._step: Callable[[int], int] = self._code
        self._tag = b""
        self._comment_depth = 0
        self._is_at_line_start = False
        self._has_header = self._has_trailer = self._has_created = False
        self._statement = Statement()
        self._held: bytearray | None = None
        """The current statement, if it can still be left out."""

    def feed(self, data: bytes) -> bytes:
        if self._is_first_chunk and data:
            data, self._is_first_chunk = data.removeprefix(BYTE_ORDER_MARK), False
        if b"\0" in data:
            raise self._refusal(0, "a byte with the value 0", "Name a dump of pg_dump in an encoding such as UTF-8.")
        return self._read(data)

    def finish(self) -> bytes:
        self._is_final = True
        rest = self._read(b"")
        if self._step != self._code or (self._has_header and not self._has_trailer):
            raise UserFacingError(f"{self._name!r} is cut off: its end is missing, so nothing was restored. Use another copy of it.")
        try:
            return rest + self._close_statement(len(self._buffer))
        except Refused as refused:
            raise self._refusal(len(self._buffer), refused.found, refused.advice) from None

    def _read(self, data: bytes) -> bytes:
        buffer = self._buffer = self._buffer + data
        self._emitted = position = 0
        while position < len(buffer):
            try:
                after = self._step(position)
            except Refused as refused:
                raise self._refusal(position, refused.found, refused.advice) from None
            if after <= position:
                break
            position = after
        self._emit(position)
        self._lines += buffer.count(b"\n", 0, position)
        self._buffer = buffer[position:]
        if len(self._buffer) > LONGEST_TOKEN:
            raise self._refusal(0, "a word or a comment that is too long", "Name a dump of pg_dump.")
        output = bytes(self._output)
        self._output.clear()
        return output

    def _refusal(self, position: int, found: str, advice: str) -> UserFacingError:
        line = self._lines + self._buffer.count(b"\n", 0, position) + 1
        return UserFacingError(f"Line {line:,} of {self._name!r} has {found}: nothing was restored. {advice}")

    def _emit(self, position: int) -> None:
        """Add what lies before ``position`` to the output, or to the statement that can still be left out."""
        target = self._output if self._held is None else self._held
        target += self._buffer[self._emitted : position]
        self._emitted = position
        if self._held is not None and len(self._held) > LONGEST_HELD:
            self._keep()

    def _keep(self) -> None:
        if self._held is not None:
            self._output += self._held
            self._held = None

    def _add_word(self, word: bytes, position: int) -> None:
        if not self._statement.words and word in HELD:
            self._emit(position)
            self._held = bytearray()
        self._statement.add(word)

    def _close_statement(self, position: int) -> bytes:
        """Judge the statement that ends before ``position``, and begin a new one. Return what is kept of it, if it was held until now."""
        self._emit(position)
        statement, held = self._statement, self._held
        self._statement, self._held = Statement(), None
        verdict = statement.verdict(bytes(held or b""), self._server_major, is_first_part=not self._has_created)
        self._has_created |= statement.words[:1] == [b"create"]
        if held is None or verdict is Verdict.KEEP:
            return bytes(held or b"")
        self.rights_left_out += verdict is Verdict.OMIT_RIGHTS
        return b""

    # One step for each state: it returns the position after what it has read, or NEEDS_MORE.

    def _code(self, position: int) -> int:
        if self._statement.words[:1] == [b"insert"] and (values := STRINGS.match(self._buffer, position)):
            return values.end()
        token = CODE.match(self._buffer, position)
        if token is None:
            raise AssertionError(position)
        kind, end = str(token.lastgroup), token.end()
        if not self._is_final:
            grows = end == len(self._buffer) if kind in GROWS else kind == "single" and BEGINS.match(self._buffer, position)
            if grows:
                return NEEDS_MORE
        if token["junk"]:
            # Versions of psql differ on where it ends, and every server refuses it.
            raise Refused("a number that ends with a letter", AS_WRITTEN)
        if kind == "word":
            self._add_word(token[0].lower(), position)
        elif kind not in ("other", "number", "single"):
            return self._special(kind, token[0], position, end)
        return end

    def _special(self, kind: str, text: bytes, position: int, end: int) -> int:
        if kind in ("quote", "escape", "dollar"):
            self._add_word(b"'", position)
            self._step = {"quote": self._quote, "escape": self._escape, "dollar": self._dollar}[kind]
            self._tag = text
        elif kind == "name":
            self._add_word(b'"', position)
            self._step = self._quoted_name
        elif kind == "comment":
            self._note_comment(text.rstrip())
        elif kind == "block":
            self._step, self._comment_depth = self._block, 1
        elif kind == "open":
            self._statement.open_parenthesis()
        elif kind == "close":
            self._statement.close_parenthesis()
        elif kind == "end":
            return self._semicolon(end)
        elif kind == "command":
            return self._command(position)
        return end

    def _semicolon(self, end: int) -> int:
        if not self._statement.ends_at_semicolon():
            return end
        is_copy = self._statement.words[:1] == [b"copy"]
        self._output += self._close_statement(end)
        if is_copy:
            self._step = self._copy_begin
        return end

    def _note_comment(self, text: bytes) -> None:
        if text == CLUSTER:
            raise Refused("the header of pg_dumpall", "Dump the database alone, with pg_dump.")
        self._has_header |= text == HEADER
        self._has_trailer |= text == TRAILER

    def _command(self, position: int) -> int:
        """Leave out ``\\restrict`` and ``\\unrestrict``: the restore has its own. Refuse every other command of psql."""
        if not self._is_final and self._buffer.find(b"\n", position) < 0:
            return NEEDS_MORE
        if not self._statement.words and (found := RESTRICTION.match(self._buffer, position)):
            self._emit(position)
            self._emitted = found.end()
            return found.end()
        [command] = COMMAND.findall(self._buffer, position)[:1]
        raise Refused(f"the psql command {command.decode('ascii')!r}, which could start a program", AS_WRITTEN)

    def _quote(self, position: int) -> int:
        return self._after_delimiter(b"'", position)

    def _quoted_name(self, position: int) -> int:
        return self._after_delimiter(b'"', position)

    def _after_delimiter(self, delimiter: bytes, position: int) -> int:
        """Read up to a delimiter. Two in a row stand for one, and read as an end and a new beginning they mean the same."""
        found = self._buffer.find(delimiter, position)
        if found < 0:
            return len(self._buffer)
        self._step = self._code
        return found + 1

    def _escape(self, position: int) -> int:
        """Read ``E'...'``. For psql a string on the next line is another one, with backslashes of its own: psql reads line by line."""
        found = ESCAPED_END.search(self._buffer, position)
        if found is None:
            return len(self._buffer)
        after = self._buffer[found.end() : found.end() + 1]
        if not after and not self._is_final:
            return found.start()
        if found[0] == b"\\" or after == b"'":
            return found.end() + len(after)
        self._step = self._code
        return found.end()

    def _dollar(self, position: int) -> int:
        found = self._buffer.find(self._tag, position)
        if found >= 0:
            self._step = self._code
            return found + len(self._tag)
        return max(position, len(self._buffer) - len(self._tag) + 1) if not self._is_final else len(self._buffer)

    def _block(self, position: int) -> int:
        found = BLOCK_PART.search(self._buffer, position)
        if found is None:
            return max(position, len(self._buffer) - 1) if not self._is_final else len(self._buffer)
        self._comment_depth += 1 if found[0] == b"/*" else -1
        if not self._comment_depth:
            self._step = self._code
        return found.end()

    def _copy_begin(self, position: int) -> int:
        found = COPY_BEGIN.match(self._buffer, position)
        if found is None:
            if not self._is_final and b"\n" not in self._buffer[position:] and not self._buffer[position:].strip():
                return NEEDS_MORE
            raise Refused("text after COPY on its line", AS_WRITTEN)
        self._step, self._is_at_line_start = self._copy, True
        return found.end()

    def _copy(self, position: int) -> int:
        buffer, size = self._buffer, len(self._buffer)
        if self._is_at_line_start:
            if size - position < len(b"\\.\r\n") and not self._is_final and not COPY_END_HERE.match(buffer, position):
                return NEEDS_MORE
            if (found := COPY_END_HERE.match(buffer, position)) is not None:
                self._step = self._code
                return found.end()
            if self._is_final and buffer[position:] in (b"\\.", b"\\.\r"):
                self._step = self._code
                return size
            self._is_at_line_start = False
        if (found := COPY_END.search(buffer, position)) is not None:
            self._step = self._code
            return found.end()
        if self._is_final and buffer.endswith((b"\n\\.", b"\n\\.\r")):
            self._step = self._code
            return size
        # The end of the rows can begin in the last bytes.
        last = buffer.rfind(b"\n", max(position, size - len(b"\n\\.\r")))
        return size if last < 0 else last
