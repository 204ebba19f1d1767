"""The page of the settings lists exactly the settings that the code reads, with default and range."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache

import pytest

from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION, env
from tests.docs.pages import page, rows, sections
from tests.support.untraced import untraced

PAGE = page("reference/settings.md")
TABLES = (
    "Production",
    "Web server",
    "PostgreSQL",
    "Qdrant",
    "Sync and embeddings",
    "Register of processing activities",
    "Requests of data subjects",
    "Backups",
    "Retention",
    "Anonymization",
    "Erasure ledger",
    "Files and exports",
)
ROWS = {row[0].strip("`"): row[1:] for section in TABLES for row in rows(sections(PAGE)[section])}
RANGES = {
    "bool": "on or off",
    "int": r"whole number, 0 or more|\d+ to \d+",
    "count": r"whole number, 1 or more|\d+ to \d+",
    "float": r"number, 0 or more.*|number above \d+, at most \d+|above `\w+`, at most \d+|\d+ to \d+",
    "list": ".*separated by commas",
    "networks": ".*separated by commas",
    "names": ".*separated by commas",
    "days": ".*separated by commas",
    "time_zone": "a time zone such as .+",
    "rules": "`NAME=DAYS`, separated by commas",
    "file_stores": "`PREFIX/=URL`, separated by commas",
    "folder": "folder.*",
    "file": "path of a file; a relative one .*",
    "choice": "`.+` or `.+`",
}
OF_DEBUG = "DEBUG"
"""Settings whose documented default comes from manage.py, not from the settings module."""


@cache
def readers() -> dict[str, str]:
    """Return the method of ``env`` that reads each setting."""
    trees = [ast.parse((BASE_DIR / "findme" / name).read_text(encoding="utf-8")) for name in ("settings.py", "environment.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {
        call.args[0].value: call.func.attr
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


@cache
def defaults(debug: str) -> dict[str, object]:
    """Return the values in an environment without other settings."""
    unset = dict.fromkeys(ROWS, "")
    script = (
        "import json; from findme import settings;"
        f" print(json.dumps({{name: getattr(settings, name) for name in {sorted(ROWS)!r} if hasattr(settings, name)}}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=BASE_DIR,
        env=untraced() | unset | {"DEBUG": debug},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def written(value: object) -> set[str]:
    """Return the ways in which the page may write a default."""
    if isinstance(value, bool):
        return {"on" if value else "off"}
    if isinstance(value, list | dict):
        return {",".join(map(str, value)) or "none"}
    if isinstance(value, int | float):
        return {f"{value:.0f}"}
    text = str(value).removeprefix(f"{BASE_DIR}/")
    return {text or "none"}


def test_settings__are_those_that_the_code_reads() -> None:
    assert ROWS.keys() == readers().keys() == env.asked & readers().keys()
    assert list(REQUIRED_IN_PRODUCTION) == [row[0].strip("`") for row in rows(sections(PAGE)["Production"])]


def test_settings__are_those_of_the_template() -> None:
    template = (BASE_DIR / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^#?([A-Z_]+)=", template, re.MULTILINE)) == ROWS.keys()


@pytest.mark.parametrize("name", sorted(ROWS))
def test_settings__each_has_the_range_of_its_reader(name: str) -> None:
    _default, kind, meaning = ROWS[name]
    pattern = RANGES.get(readers()[name], ".+")
    assert re.fullmatch(pattern, kind), (readers()[name], kind)
    assert meaning


@pytest.mark.parametrize("debug", ["off", "on"])
def test_settings__each_has_the_default_of_the_code(debug: str) -> None:
    for name, value in defaults(debug).items():
        cell = (
            ROWS[name][0].replace("`", "").removesuffix(" with DEBUG on").replace("a fixed value", "only-for-development-on-this-machine")
        )
        first, _, with_debug = cell.partition("; ")
        is_only_with_debug = ROWS[name][0].endswith("with `DEBUG` on") and not with_debug
        expected = (with_debug or first) if debug == "on" else ("none" if is_only_with_debug else first)
        if name != OF_DEBUG:
            assert expected in written(value), name


def test_settings__an_unreadable_value_is_refused_as_shown() -> None:
    [shown] = re.findall(r"^\$ DEBUG=(\w+) .*\n(.+)$", PAGE, re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env={name: value for name, value in untraced().items() if name != "DJANGO_SETTINGS_MODULE"} | {"DEBUG": shown[0]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr.strip()) == (2, shown[1])
