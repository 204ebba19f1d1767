"""Output of the demo: numbered steps, the commands as an operator types them, and their output."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management import call_command
from django.core.management.base import OutputWrapper
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from findme.core.errors import UserFacingError

INDENT = 4
FILE_WIDTH = 110
"""Columns if the output is not a terminal."""


class Presenter:
    """Writes to ``out``: in colors on a terminal, plain text otherwise."""

    def __init__(self, out: OutputWrapper) -> None:
        self.out = out
        width = None if out.isatty() else FILE_WIDTH
        self.console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]  # it writes text
        self.number = 0

    def step(self, title: str, text: str) -> None:
        self.number += 1
        self.console.print()
        self.console.print(Text(f"{self.number}. {title}", style="bold cyan"))
        self.paragraph(text)

    def paragraph(self, text: str) -> None:
        for line in textwrap.wrap(text, self.console.width - INDENT):
            self.line(line)

    def line(self, line: str, style: str = "") -> None:
        """Write one line without wrapping it, so that it can be copied."""
        self.console.print(Text(f"{' ' * INDENT}{line}", style=style), soft_wrap=True)

    def command(self, name: str, *arguments: str) -> None:
        """Show the command, run it, and show its output. Raise UserFacingError if it exits with findings."""
        typed = shlex.join(["python", "manage.py", name, *arguments])
        self.line(f"$ {typed}", style="bold")
        try:
            call_command(name, *arguments, stdout=_Indented(self.out))
        except SystemExit as ended:
            if ended.code:
                raise UserFacingError(
                    f"The demo stopped: {typed} has findings. Fix what it printed above, then run the demo again."
                ) from ended

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1))
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        with self.console.capture() as captured:
            self.console.print(table)
        for line in filter(str.strip, captured.get().splitlines()):
            self.out.write(f"{' ' * (INDENT - 1)}{line.rstrip()}")


class _Indented(io.TextIOBase):
    """Indents every line that is written, also if the line is written in parts."""

    def __init__(self, out: OutputWrapper) -> None:
        self.out = out
        self.line_begins = True

    def write(self, text: str, /) -> int:
        for line in text.splitlines(keepends=True):
            self.out.write(f"{' ' * INDENT if self.line_begins and line.strip() else ''}{line}", ending="")
            self.line_begins = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self.out.flush()
