"""Run a program of PostgreSQL, and report its failure in one line without rows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO, cast

from backups.postgresql.connection import ProgramConnection
from findme.core.errors import UserFacingError, truncated
from findme.core.postgresql.programs import Program

TERMINATE_SECONDS = 5.0
"""How long a program may take to cancel its query and to end, before it is killed."""
LONGEST_ERROR = 64 * 1024
"""How many bytes of the error output are kept, from its end."""
NOT_SHOWN = re.compile(
    r"(DETAIL|CONTEXT|LINE \d+|Command was|(pg_\w+|psql): (detail: )?(Query|Command) was):|(pg_\w+|psql): from TOC entry"
)
"""Parts of an error that quote rows, or whole statements."""
VALUE = re.compile(r'(?<=: )".*"|(?<=\bvalue )".*"(?= is out of range)')
"""A quoted value in the sentence of an error. Names of tables and columns follow a word without a colon. A value can have quotes itself, so it ends at the last one."""
BEGINNING = re.compile(r"(pg_\w+|psql|psql:<stdin>:\d+): |(ERROR|FATAL|HINT): ")
"""The beginning of a part of an error that is shown."""
NO_ERROR = re.compile(r"(psql:<stdin>:\d+: )?(DEBUG|LOG|INFO|NOTICE|WARNING):")
"""The beginning of a message of the server that is not shown: a dump can write anything in it."""
IGNORED = re.compile(r"^pg_restore: warning: errors ignored on restore: (\d+)$", re.MULTILINE)


class RunningProgram:
    """A program in a session and a process group of its own, so that Ctrl-C reaches it through this process only."""

    def __init__(
        self,
        program: Program,
        options: Sequence[str],
        connection: ProgramConnection,
        *,
        stdin: int,
        stdout: int,
        tolerated: re.Pattern[str] | None,
        database_option: str,
    ) -> None:
        self.name = program.path.name
        self._tolerated = tolerated
        # NOT_SHOWN knows the English labels.
        environment = connection.environment | {"LC_ALL": "C"}
        self._process = subprocess.Popen(  # noqa: S603  # a program of PostgreSQL with our own options
            [str(program.path), f"{database_option}{connection.conninfo}", "--no-password", *options],
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        self._errors = b""
        # A daemon: a process of the system that keeps the pipe open must not keep this one.
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()

    @property
    def stdin(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdin)

    @property
    def stdout(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)

    def require_success(self) -> None:
        """Wait until the program ends. Raise UserFacingError with its words if it has failed, by more than the errors that are tolerated."""
        code = self._process.wait()
        if code and not self._is_tolerated():
            raise UserFacingError(f"{self.name} failed: {self._words(code)}. Correct this, then run the command again.")

    def end(self) -> None:
        """Close the pipes and end the program if it runs: it cancels its query on SIGTERM, and SIGKILL follows."""
        try:
            if self._process.poll() is None:
                self._signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(TERMINATE_SECONDS)
        finally:
            if self._process.poll() is None:
                self._signal(signal.SIGKILL)
                self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self._drain.join(TERMINATE_SECONDS)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read_errors(self) -> None:
        with cast("IO[bytes]", self._process.stderr) as pipe:
            while part := pipe.read(LONGEST_ERROR):
                self._errors = (self._errors + part)[-LONGEST_ERROR:]

    def _is_tolerated(self) -> bool:
        """Return whether every error that the program has ignored matches ``tolerated``."""
        text = self._error_output()
        ignored = IGNORED.search(text)
        return self._tolerated is not None and ignored is not None and int(ignored[1]) == len(self._tolerated.findall(text))

    def _error_output(self) -> str:
        self._drain.join(TERMINATE_SECONDS)
        return self._errors.decode(errors="replace")

    def _words(self, code: int) -> str:
        text = self._error_output()
        shown = shown_words(self._tolerated.sub("", text) if self._tolerated is not None else text)
        if code < 0:
            return f"it was ended by signal {-code}" + (f" ({shown})" if shown else "")
        return shown or f"it ended with exit code {code}"


@contextmanager
def running(
    program: Program,
    options: Sequence[str],
    connection: ProgramConnection,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int,
    tolerated: re.Pattern[str] | None = None,
    database_option: str = "--dbname=",
) -> Iterator[RunningProgram]:
    """Run the program during the block. It has ended when the block has, also after an exception.

    ``tolerated`` matches each error of a ``pg_restore`` without ``--exit-on-error`` that is no failure. An empty
    ``database_option`` is for a program that takes the database as an argument without an option.
    """
    started = RunningProgram(program, options, connection, stdin=stdin, stdout=stdout, tolerated=tolerated, database_option=database_option)
    try:
        yield started
    finally:
        started.end()


def shown_words(errors: str) -> str:
    """Return the error output of a program on one line, without the parts that quote rows or whole statements, and without a full stop."""
    shown: list[str] = []
    is_shown = is_error = True
    for line in errors.splitlines():
        if NO_ERROR.match(line):
            is_shown = is_error = False
        elif NOT_SHOWN.match(line):
            is_shown = False
        elif BEGINNING.match(line):
            is_error = is_error or not line.startswith("HINT")
            is_shown = is_error
        if is_shown:
            shown.append(re.sub(r"^(pg_\w+|psql(:<stdin>:\d+)?): (error: |detail: |(?=ERROR|FATAL|PANIC))", "", line))
    return truncated(without_values(" ".join(" ".join(shown).split()))).rstrip(".")


def without_values(words: str) -> str:
    """Return the words of PostgreSQL with "..." instead of a value of a row: invalid input syntax for type integer: "someone@example.com"."""
    return VALUE.sub('"..."', words)
