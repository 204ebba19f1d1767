"""The program that is found: not older than the server, and from the first place that has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytest_django import Settings

from findme.core.errors import UserFacingError
from findme.core.postgresql import programs
from findme.core.postgresql.programs import Program, find_program, installed_binaries

ANSWERS = {
    15: "pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)",
    16: "pg_dump (PostgreSQL) 16.0",
    17: "pg_dump (PostgreSQL) 17.6",
    18: "pg_dump (PostgreSQL) 18beta1",
}


def install(folder: Path, text: str, name: str = "pg_dump") -> Path:
    """Write a program that prints ``text``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def install_version(folder: Path, major: int) -> Path:
    return install(folder, f'[ "$*" = --version ] && echo "{ANSWERS[major]}"')


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Let no place of this machine have a program."""
    settings.POSTGRESQL_PROGRAMS = ""
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{tmp_path / 'path2'}")
    monkeypatch.setattr(programs, "INSTALLATIONS", (f"{tmp_path}/lib/*/bin", f"{tmp_path}/pgsql-*/bin"))
    monkeypatch.setattr(programs, "PACKAGE", "embedded_postgres_that_is_not_here")


def test_find_program__the_order_of_the_places(tmp_path: Path, settings: Settings) -> None:
    settings.POSTGRESQL_PROGRAMS = str(tmp_path / "setting")
    places = ["pgsql-17/bin", "lib/17/bin", "path2", "path", "setting"]
    for place in places:
        path = install_version(tmp_path / place, 17)
        assert find_program("pg_dump", 17) == Program(path, "17.6", 17)


def test_find_program__older_ones_are_passed_over(tmp_path: Path, settings: Settings) -> None:
    settings.POSTGRESQL_PROGRAMS = str(tmp_path / "setting")
    for place in ("setting", "path", "lib/15/bin"):
        install_version(tmp_path / place, 15)
    newer = install_version(tmp_path / "pgsql-18" / "bin", 18)
    assert find_program("pg_dump", 16) == Program(newer, "18beta1", 18)
    assert find_program("pg_dump", 15).path == tmp_path / "setting" / "pg_dump"


def test_find_program__the_lowest_version_of_a_distribution_that_suffices(tmp_path: Path) -> None:
    for major in (18, 15, 17, 16):
        install_version(tmp_path / "lib" / str(major) / "bin", major)
    assert [find_program("pg_dump", major).major for major in (14, 15, 16, 17, 18)] == [15, 15, 16, 17, 18]


def test_find_program__the_package_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PACKAGE", "embedded_postgres")
    found = find_program("pg_restore", 15)
    assert (found.path, found.version) == (installed_binaries().path("pg_restore"), installed_binaries().version)


@pytest.mark.parametrize("text", ["exit 1", "echo something else", 'echo "pg_dump (PostgreSQL) 18.1"; exit 1', "kill -9 $$"])
def test_find_program__what_is_no_program_of_postgresql_is_passed_over(tmp_path: Path, text: str) -> None:
    install(tmp_path / "path", text)
    other = install_version(tmp_path / "path2", 18)
    assert find_program("pg_dump", 18).path == other


def test_find_program__what_cannot_run_is_passed_over(tmp_path: Path) -> None:
    install_version(tmp_path / "path", 18).write_text("no program")
    (tmp_path / "lib" / "17" / "bin" / "pg_dump").mkdir(parents=True)
    install_version(tmp_path / "lib" / "18" / "bin", 18).chmod(0o644)
    with pytest.raises(UserFacingError, match="There is no pg_dump for PostgreSQL 18"):
        find_program("pg_dump", 18)


def test_find_program__one_that_hangs_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SECONDS", 0.1)
    install(tmp_path / "path", "exec /bin/sleep 600")
    monkeypatch.setattr(programs, "INSTALLATIONS", ())
    with pytest.raises(UserFacingError):
        find_program("pg_dump", 18)


def test_find_program__debians_wrapper_is_passed_over(tmp_path: Path) -> None:
    """The version that it prints is not always the version that it runs with a host and a port."""
    wrapper = install_version(tmp_path / "share", 18).rename(tmp_path / "share" / "pg_wrapper")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pg_dump").symlink_to(wrapper)
    other = install_version(tmp_path / "lib" / "18" / "bin", 18)
    assert find_program("pg_dump", 18).path == other


@pytest.mark.parametrize("part", ["", ".", "path"])
def test_find_program__the_working_folder_is_not_searched(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_version(tmp_path, 18)
    install_version(tmp_path / "path", 18)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", part)
    with pytest.raises(UserFacingError):
        find_program("pg_dump", 18)


def test_find_program__too_old__names_both_versions_and_the_places(tmp_path: Path, settings: Settings) -> None:
    settings.POSTGRESQL_PROGRAMS = str(tmp_path / "setting")
    install_version(tmp_path / "setting", 15)
    newest = install_version(tmp_path / "lib" / "16" / "bin", 16)
    with pytest.raises(UserFacingError) as raised:
        find_program("pg_dump", 18)
    assert str(raised.value) == (
        f"pg_dump has version 16.0 ({str(newest)!r}), older than PostgreSQL 18. Searched: POSTGRESQL_PROGRAMS ({tmp_path / 'setting'}), PATH,"
        f" {tmp_path}/lib/*/bin, {tmp_path}/pgsql-*/bin, and the package embedded-postgres."
        " Install the programs of PostgreSQL 18, or set POSTGRESQL_PROGRAMS to their folder."
    )


def test_find_program__none__says_so() -> None:
    with pytest.raises(UserFacingError) as raised:
        find_program("pg_dump", 18)
    assert re.match(r"There is no pg_dump for PostgreSQL 18\. Searched: POSTGRESQL_PROGRAMS \(not set\), PATH, ", str(raised.value))
