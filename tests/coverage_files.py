"""Remove incomplete coverage files of killed processes, which would make the report fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Remove the files after the last test, before pytest-cov combines all files."""
    yield
    if hasattr(session.config, "workerinput") or not session.config.pluginmanager.hasplugin("_cov"):
        return
    removed = remove_unreadable(session.config.rootpath)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if removed and reporter is not None:
        reporter.write_line(f"\nRemoved {len(removed)} unreadable coverage file(s) of killed processes.")


def remove_unreadable(folder: Path) -> list[Path]:
    """Remove the coverage files of other processes in ``folder`` that SQLite cannot read, and return them."""
    unreadable = [path for path in folder.glob(".coverage.*") if not path.name.endswith("-journal") and not _is_readable(path)]
    for path in unreadable:
        path.unlink()
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    return unreadable


def _is_readable(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as data:
            tables = {name for (name,) in data.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            return data.execute("PRAGMA quick_check").fetchall() == [("ok",)] and {"meta", "file", "arc", "line_bits"} <= tables
    except sqlite3.DatabaseError:
        return False
