"""The texts in the source code, which the pages of ``docs/`` quote."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache

from findme.environment import BASE_DIR
from vectorstore.qdrant.address import SETTINGS

PACKAGES = ("accounts", "backups", "calls", "findme", "matching", "privacy", "vectorstore", "videos")
LITERAL = 6
"""Fewest characters of a text without its values, so that a text does not match every line."""


@cache
def texts() -> frozenset[str]:
    """Return every string in the code, with … for a value."""
    listed = subprocess.run(["git", "ls-files", "-z", *PACKAGES], cwd=BASE_DIR, capture_output=True, check=True, text=True)
    paths = [BASE_DIR / name for name in listed.stdout.split("\0") if name.endswith(".py")]
    return frozenset(
        found
        for path in paths
        if path.is_file()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (found := text_of(node))
    )


def text_of(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return re.sub(r"%[sdr]|%\.?\d*f", "…", value)
        case ast.FormattedValue(value=ast.Attribute(value=ast.Attribute(attr="names") | ast.Name(id="names"), attr=name)):
            # An error about an address names a setting, or the option of a command.
            return str(getattr(SETTINGS, name))
        case ast.JoinedStr():
            return "".join(text_of(part) or "…" for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return f"{text_of(node.left) or '…'}{text_of(node.right) or '…'}"
    return ""


@cache
def patterns() -> list[re.Pattern[str]]:
    """Return a pattern for each text of the code, in which any characters can stand for a value."""
    long_enough = (text for text in texts() if len(text.replace("…", "").strip()) >= LITERAL)
    return [re.compile(".*".join(map(re.escape, text.strip().split("…")))) for text in long_enough]


def is_printed(line: str) -> bool:
    """Return whether a text of the code, with values, is this line."""
    return any(pattern.fullmatch(line) for pattern in patterns())


def unknown_pieces(message: str) -> list[str]:
    """Return the pieces of a message, between the values …, that no text of the code contains."""
    pieces = [piece.strip() for piece in message.split("…") if piece.strip(" ,.:;()")]
    return [piece for piece in pieces if not any(piece in text for text in texts())]
