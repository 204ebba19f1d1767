"""The migration guide's Go code, and golang-migrate, as programs that are built once in a run.

The code is in the module ``go/`` next to this file. Its packages come from the Go module proxy. Tests that need them are skipped where ``go`` or the
packages cannot be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.untraced import untraced

MODULE = Path(__file__).parent / "go"
MIGRATE = "github.com/golang-migrate/migrate/v4/cmd/migrate"
BUILD_SECONDS = 900
"""The longest time to download and to compile. On two busy cores it takes minutes."""


@dataclass(frozen=True)
class GoPrograms:
    """``guide`` has the guide's functions, ``migrate`` is golang-migrate. ``folder`` holds them and a copy of the module."""

    folder: Path
    environment: Mapping[str, str]

    def start(self, program: str, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.folder / program, *arguments],
            cwd=cwd or self.folder,
            env=untraced() | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *arguments: str, stdin: str = "", cwd: Path | None = None, **variables: str) -> str:
        """Run the program, which must succeed. Return its output, stderr included: golang-migrate writes there."""
        with self.start(program, *arguments, cwd=cwd, **variables) as process:
            out, err = process.communicate(stdin, timeout=BUILD_SECONDS)
        assert process.returncode == 0, err
        return out + err

    def build(self, name: str, source: str) -> None:
        """Compile a program of one file with the module's packages."""
        package = self.folder / "module" / "programs" / name
        package.mkdir(parents=True)
        (package / "main.go").write_text(source)
        compile_in(self.folder / "module", self.environment, "-o", str(self.folder / name), f"./programs/{name}")

    def vet(self, name: str) -> str:
        """Return what ``go vet`` reports of a program that was built."""
        return _go(self.folder / "module", self.environment, "vet", f"./programs/{name}").stderr


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> GoPrograms:
    if shutil.which("go") is None:
        pytest.skip("the PATH has no program go: the migration guide's Go code was not run")
    folder = tmp_path_factory.mktemp("go")
    module = Path(shutil.copytree(MODULE, folder / "module"))
    environment = go_environment(folder)
    # This downloads the packages and compiles nothing.
    listed = _go(module, environment, "list", "-deps", "-tags", "postgres", ".", MIGRATE)
    if listed.returncode and "go.sum" not in listed.stderr:
        pytest.skip(f"the packages of the migration guide's Go code cannot be had: {' '.join(listed.stderr.split())[-300:]}")
    compile_in(module, environment, "-o", str(folder / "guide"), ".")
    compile_in(module, environment, "-tags", "postgres", "-o", str(folder / "migrate"), MIGRATE)
    return GoPrograms(folder, environment)


def go_environment(folder: Path) -> dict[str, str]:
    """Return the environment of ``go``. Packages and objects stay in the user's cache folders, if there are any, so that only the first run is slow."""
    own = {"GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    if not os.environ.get("HOME"):
        own |= {"GOPATH": str(folder / "path"), "GOCACHE": str(folder / "cache"), "GOFLAGS": f"{own['GOFLAGS']} -modcacherw"}
    return untraced() | own


def compile_in(module: Path, environment: Mapping[str, str], *arguments: str) -> None:
    built = _go(module, environment, "build", *arguments)
    assert built.returncode == 0, built.stderr


def _go(module: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["go", *arguments], cwd=module, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
    )
