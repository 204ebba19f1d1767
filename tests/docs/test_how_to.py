"""The how-to pages of the vector store are true: their commands and options exist, and the output and messages that they show are in the code."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess

import pytest
from django.core.management import CommandParser, get_commands, load_command_class

from findme.environment import BASE_DIR
from tests.docs.pages import blocks, page, rows

VECTOR_STORE = (
    "connect-to-qdrant",
    "create-the-collection",
    "load-embeddings",
    "run-the-workers",
    "search-profiles",
    "verify-and-repair",
    "rebuild-without-downtime",
    "adopt-a-collection",
    "protect-unique-vectors",
    "use-snapshots",
    "purge-erased-points",
    "plan-capacity",
    "troubleshooting",
)
NAMES = ["concepts.md", *(f"how-to/{name}.md" for name in VECTOR_STORE)]
TEXT = "\n".join(page(name) for name in NAMES)
PREFIX = "$ python manage.py "
TYPED = sorted(set(re.findall(rf"^ *{re.escape(PREFIX)}(.+)$", TEXT, re.MULTILINE)))
SYNOPSES = [line for block in blocks(TEXT, "text") for line in re.split(r"\n(?=manage\.py)", block) if line.startswith("manage.py ")]
VALUES = {"ID": "00000000-0000-0000-0000-000000000001"}
SHOWN = [line.strip() for block in re.findall(r"^ *```console\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
COMPOSED = re.compile(
    r"Nothing to do\.|Would be dropped: .*|\d snapshot created\.|.*: \d (would be changed|to change)\.|\d stale payload: .*"
)
"""Lines that the code puts together from short pieces."""
OUTPUT = sorted({line for line in SHOWN if not line.startswith(("$", "|", "...")) and not COMPOSED.fullmatch(line)})
MESSAGES = [row[0] for row in rows(page("how-to/troubleshooting.md")) if row[0].startswith("`") and not row[0].startswith("`remaining`")]


def parser_of(command: str) -> CommandParser:
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)


def texts() -> list[str]:
    """Every string in the code, with … for a value."""
    listed = subprocess.run(["git", "ls-files", "-z", "vectorstore", "findme"], cwd=BASE_DIR, capture_output=True, check=True, text=True)
    paths = [BASE_DIR / name for name in listed.stdout.split("\0") if name.endswith(".py")]
    return [
        found
        for path in paths
        if path.is_file()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (found := text_of(node))
    ]


def text_of(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return re.sub(r"%[sdr]|%\.?\d*f", "…", value)
        case ast.JoinedStr():
            return "".join(text_of(part) or "…" for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return f"{text_of(node.left) or '…'}{text_of(node.right) or '…'}"
    return ""


CODE = texts()
LITERAL = 6
"""Characters that a text has at least, without its values, so that not every line matches it."""
PATTERNS = [
    re.compile(".*".join(map(re.escape, text.strip().split("…")))) for text in set(CODE) if len(text.replace("…", "").strip()) >= LITERAL
]


def test_pages__show_commands_options_and_messages() -> None:
    assert (len(TYPED) > 20, len(SYNOPSES) > 10, len(OUTPUT) > 15, len(MESSAGES) > 40) == (True, True, True, True)


@pytest.mark.parametrize("line", TYPED)
def test_command__is_understood(line: str) -> None:
    command, *arguments = [VALUES.get(word, word) for word in shlex.split(line)]

    parser_of(command).parse_args(arguments)


@pytest.mark.parametrize("synopsis", SYNOPSES)
def test_synopsis__its_options_exist(synopsis: str) -> None:
    command, action = re.findall(r"^manage\.py (\w+) ?(\w*)", synopsis)[0]
    parser = parser_of(command)
    known = parser.format_help()
    for sub in parser._subparsers._group_actions if parser._subparsers else []:
        known = sub.choices[action].format_help()  # type: ignore[index]

    assert [option for option in re.findall(r"--[a-z-]+", synopsis) if option not in known] == []


@pytest.mark.parametrize("line", OUTPUT)
def test_output__is_one_of_the_code(line: str) -> None:
    assert any(pattern.fullmatch(line) for pattern in PATTERNS)


@pytest.mark.parametrize("message", MESSAGES)
def test_message__is_one_of_the_code(message: str) -> None:
    pieces = [piece.strip() for piece in re.findall(r"`([^`]*)`", message)[0].split("…") if piece.strip(" ,.:;")]

    assert [piece for piece in pieces if not any(piece in text for text in CODE)] == []
