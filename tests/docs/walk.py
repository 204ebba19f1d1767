"""Run the commands of a page in the order of the page, and compare what they print with what the page shows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.pages import blocks, sections

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
VARYING = re.compile(rf"{UUID}|\d[\d,.:]*\d|\d|…")
"""What differs from run to run: ids, numbers, times, and the values that the page writes as …"""


@dataclass(frozen=True)
class Shown:
    """A command of the page, in the step with this heading, with the lines that the page shows below it."""

    step: str
    command: str
    output: list[str] = field(default_factory=list)


def shown_in(text: str) -> list[Shown]:
    """Return the commands in the blocks ``console`` of the sections whose headings begin with a number."""
    return [
        found
        for heading, body in sections(text).items()
        if re.match(r"\d+\. ", heading)
        for block in blocks(body, "console")
        for found in _commands(heading, block)
    ]


def _commands(heading: str, block: str) -> list[Shown]:
    found: list[Shown] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Shown(heading, line.removeprefix("$ ")))
        else:
            found[-1].output.append(line)
    return found


def missing_lines(output: Sequence[str], printed: str) -> list[str]:
    """Return the shown lines that were not printed, in the order of the page. Ids, numbers and times may differ. A line ``...`` stands for any lines."""
    remaining = [line.rstrip() for line in printed.splitlines()]
    missing: list[str] = []
    for line in output:
        pattern = as_pattern(line)
        places = [place for place, candidate in enumerate(remaining) if pattern.fullmatch(candidate)]
        if line.strip() == "...":
            continue
        if places:
            del remaining[: places[0] + 1]
        else:
            missing.append(line)
    return missing


def as_pattern(line: str) -> re.Pattern[str]:
    pieces: list[str] = []
    end = 0
    for found in VARYING.finditer(line):
        pieces.append(re.escape(line[end : found.start()]))
        pieces.append(UUID if re.fullmatch(UUID, found[0]) else ".+" if found[0] == "…" else r"[\d,.:]+")
        end = found.end()
    return re.compile("".join([*pieces, re.escape(line[end:].rstrip())]))


def walk(
    commands: Sequence[Shown],
    run: Callable[[Shown], tuple[int, str]],
    before: Callable[[str], None],
    transcript: Path,
    findings: Set[tuple[str, str]],
) -> list[str]:
    """Run each command. Call ``before`` with the heading when a step begins. Return what differs from the page.

    ``run`` returns the exit code and what was printed. ``transcript`` is a file that gets every command with its output. ``findings`` has the commands
    that must end with exit code 1: the number of the step, and the command of ``manage.py``. All others must end with 0.
    """
    differing: list[str] = []
    step = ""
    transcript.unlink(missing_ok=True)
    for shown in commands:
        if shown.step != step:
            step = shown.step
            before(step)
        began = time.monotonic()
        code, printed = run(shown)
        with transcript.open("a") as file:
            file.write(f"$ {shown.command}\n{printed}exit code {code}, {time.monotonic() - began:.1f} s\n\n")
        if code != int((step[0], *shown.command.split()[2:3]) in findings):
            differing.append(f"{step}: {shown.command}: exit code {code}\n{printed}")
        differing.extend(f"{step}: {shown.command}: does not print {line!r}:\n{printed}" for line in missing_lines(shown.output, printed))
    return differing
