"""The import contracts of pyproject.toml: every package is in one, and a wrong import breaks it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from findme.environment import BASE_DIR
from tests.support.untraced import untraced

LINT = "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports', '--no-cache']; lint_imports_command()"
NOT_OF_THE_PRODUCT = {"benchmarks", "fixtures", "tests"}
WRONG = {
    "apps": ("privacy/registry.py", "import accounts.age"),
    "vectorstore": ("vectorstore/queue/entries.py", "import vectorstore.qdrant.address"),
    "privacy": ("privacy/users.py", "import privacy.actions.outcome"),
    "backups": ("backups/streams/__init__.py", "import backups.destinations"),
    "findme.core": ("findme/core/errors.py", "import findme.core.commands.base"),
    "findme": ("findme/environment.py", "import findme.embedded.server"),
    "of findme, the apps import the library and the migrator only": ("accounts/age.py", "import findme.environment"),
}


def contracts() -> dict[str, dict[str, Any]]:
    settings = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert sorted(settings["root_packages"]) == packages()
    return {contract["name"]: contract for contract in settings["contracts"]}


def packages() -> list[str]:
    return sorted(path.parent.name for path in BASE_DIR.glob("*/__init__.py") if path.parent.name not in NOT_OF_THE_PRODUCT)


def test_contracts__every_package_has_a_layer() -> None:
    layers = {name.strip() for layer in contracts()["apps"]["layers"] for name in layer.split("|")}
    assert set(packages()) - {"findme"} <= layers
    assert {"backups", "findme", "findme.core", "privacy", "vectorstore"} == {
        container for contract in contracts().values() for container in contract.get("containers", ()) if contract.get("exhaustive")
    }


@pytest.mark.long
def test_contracts__a_wrong_import_breaks_each(tmp_path: Path) -> None:
    assert WRONG.keys() == contracts().keys()
    copy_of_the_code(tmp_path)
    assert broken(tmp_path) == (0, [])
    for path, line in WRONG.values():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    assert broken(tmp_path) == (1, sorted(WRONG))


@pytest.mark.at_length(every=9)
@pytest.mark.long
@pytest.mark.parametrize("container", ["backups", "findme", "findme/core", "privacy", "vectorstore"])
def test_contracts__a_new_folder_has_to_choose_its_layer(container: str, tmp_path: Path) -> None:
    copy_of_the_code(tmp_path)
    (tmp_path / container / "new_room").mkdir()
    (tmp_path / container / "new_room" / "__init__.py").touch()
    assert broken(tmp_path)[0] == 1


def copy_of_the_code(folder: Path) -> None:
    for package in packages():
        shutil.copytree(BASE_DIR / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "static", "templates"))
    shutil.copy(BASE_DIR / "pyproject.toml", folder)


def broken(folder: Path) -> tuple[int, list[str]]:
    """Return the exit code, and the names of the contracts that are broken."""
    ran = subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env=untraced() | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return ran.returncode, sorted(re.findall(r"^(.+) BROKEN\b", ran.stdout, re.MULTILINE))
