"""Read the part of YAML that ``compose.yaml`` uses, and reject anything else. No YAML package is installed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_PAIR = re.compile(r"(?P<name>\w+):(?: +(?P<value>\S.*))?$")
_ITEM = re.compile(r"- +(?P<value>\S.*)$")
_WORD = re.compile(r"[\w./:@${}-]+$")


@dataclass
class _Lines:
    """The remaining lines. Empty lines and comments are removed, except in a text block."""

    left: list[str]

    def indent(self) -> int:
        """Return the indent of the next line with content; -1 at the end."""
        while self.left and (not self.left[0].strip() or self.left[0].lstrip().startswith("#")):
            self.left.pop(0)
        return _indent(self.left[0]) if self.left else -1


def read_compose_file(text: str) -> dict[str, Any]:
    """Return the document. Raise ValueError for a line that this reader does not support."""
    lines = _Lines(text.splitlines())
    found = _mapping(lines, 0)
    if lines.indent() != -1:
        raise ValueError(lines.left[0])
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _mapping(lines: _Lines, indent: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while lines.indent() == indent:
        line = lines.left.pop(0)
        pair = _PAIR.match(line.strip())
        if pair is None or pair["name"] in found:
            raise ValueError(line)
        found[pair["name"]] = _flow(pair["value"]) if pair["value"] else _block(lines, indent)
    return found


def _block(lines: _Lines, outer: int) -> Any:
    indent = lines.indent()
    if indent <= outer:
        return None
    return _items(lines, indent) if _ITEM.match(lines.left[0].strip()) else _mapping(lines, indent)


def _items(lines: _Lines, indent: int) -> list[str]:
    found: list[str] = []
    while lines.indent() == indent and (item := _ITEM.match(lines.left[0].strip())):
        lines.left.pop(0)
        found.append(_text_block(lines, indent) if item["value"] == "|" else _scalar(item["value"]))
    return found


def _text_block(lines: _Lines, outer: int) -> str:
    found: list[str] = []
    while lines.left and (not lines.left[0].strip() or _indent(lines.left[0]) > outer):
        found.append(lines.left.pop(0))
    margin = min(_indent(line) for line in found if line.strip())
    return "\n".join(line[margin:] for line in found).rstrip("\n") + "\n"


def _flow(text: str) -> Any:
    """Return a list of texts in double quotes, as in JSON, a mapping in braces, or a text."""
    if text.startswith("["):
        return [str(one) for one in json.loads(text)]
    if text.startswith("{"):
        pairs = [_PAIR.match(part.strip()) for part in text.removeprefix("{").removesuffix("}").split(",")]
        return {pair["name"]: _scalar(pair["value"]) for pair in pairs if pair}
    return _scalar(text)


def _scalar(text: str) -> str:
    if text.startswith('"'):
        return str(json.loads(text))
    if not _WORD.match(text):
        raise ValueError(text)
    return text
