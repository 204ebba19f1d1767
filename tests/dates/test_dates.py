"""The program behind ``make test-dates``."""

from __future__ import annotations

import importlib.util
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from tests.dates import libfaketime
from tests.dates.__main__ import main
from tests.dates.clocks import CLOCKS, SITE, VARIABLE, parse

QUICK = "tests/accounts/test_age.py::test_age_group__begins_with_its_first_age"
LIBRARY = libfaketime.find()
needs_libfaketime = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
not_on_a_moved_clock = pytest.mark.skipif(VARIABLE in os.environ, reason="the clock has been moved already")


@pytest.fixture
def site() -> ModuleType:
    """The module under another name, so it does not move the clock of the tests."""
    spec = importlib.util.spec_from_file_location("site_of_test_dates", SITE / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.parametrize(
    ("name", "start", "zone"),
    [
        ("2028-02-29", datetime(2028, 2, 29, 11, 0, tzinfo=UTC), "UTC"),
        ("2028-02-28T23:58", datetime(2028, 2, 28, 23, 58, tzinfo=UTC), "UTC"),
        ("2026-12-31@Pacific/Kiritimati", datetime(2026, 12, 31, 11, 0, tzinfo=UTC), "Pacific/Kiritimati"),
    ],
)
def test_parse__date_time_and_zone(name: str, start: datetime, zone: str) -> None:
    assert (parse(name).start, parse(name).zone) == (start, zone)


def test_clocks__reach_the_days_that_differ() -> None:
    utc = {clock.start.date().isoformat() for clock in CLOCKS}
    local = {(clock.start.date().isoformat(), clock.start.astimezone(ZoneInfo(clock.zone)).date().isoformat()) for clock in CLOCKS}
    assert utc >= {"2028-02-28", "2028-02-29", "2026-12-31", "2027-01-01"}
    assert local >= {("2026-12-31", "2027-01-01"), ("2027-01-01", "2026-12-31")}


@pytest.mark.parametrize("name", ["2027-02-29", "tomorrow", "2028-02-28@Nowhere/Else", "2028-02-28@../UTC", "2028-02-28T24:00"])
def test_main__a_clock_that_is_none__is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--date", name])
    assert ended.value.code == 2
    assert f"{name!r} is no clock: write 2028-02-29" in capsys.readouterr().err


def test_main__without_libfaketime__says_what_to_install(
    no_server: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(libfaketime, "find", lambda: None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "libfaketime is not installed, and PostgreSQL's clock cannot be moved without it. Install it (Debian, Ubuntu: apt-get install libfaketime).\n"
    )


def test_main__on_a_server_of_its_own_clock__is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(libfaketime, "find", lambda: Path("/usr/lib/faketime/libfaketime.so.1"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:a-password@db.example/findme")
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("DATABASE_URL names a server whose clock cannot be moved.")


@pytest.mark.at_length
@pytest.mark.long
@needs_libfaketime
@not_on_a_moved_clock
def test_main__runs_the_tests_with_every_clock_moved(no_server: None, capfd: pytest.CaptureFixture[str]) -> None:
    """The plugin compares the clocks of Python, of subprocesses and of PostgreSQL, and tries PostgreSQL's timeouts."""
    assert main(["--date", "2028-02-29@Pacific/Kiritimati", "--processes", "1", QUICK]) == 0
    out = capfd.readouterr().out
    assert "clock: 2028-02-29 11:0" in out
    assert "2028-02-29@Pacific/Kiritimati    passed in " in out
    assert not {path.name for path in Path("/dev/shm").glob(f"*faketime_*_{os.getpid()}")}


@pytest.mark.at_length
@pytest.mark.long
@needs_libfaketime
@not_on_a_moved_clock
def test_main__where_postgresql_keeps_its_clock__fails(
    no_server: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libfaketime, "copy_without_waits", lambda library, folder: folder / "not-there.so")
    assert main(["--date", "2028-02-29", "--processes", "1", QUICK]) == 1
    out = capfd.readouterr().out
    assert "The clocks do not show 2028-02-29 11:00 UTC: PostgreSQL shows " in out
    assert "a subprocess shows" not in out


@needs_libfaketime
def test_copy_without_waits__keeps_all_else(tmp_path: Path) -> None:
    assert LIBRARY is not None
    before, after = LIBRARY.read_bytes(), libfaketime.copy_without_waits(LIBRARY, tmp_path).read_bytes()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert len(before) == len(after) and 0 < len(changed) <= 10
    assert b"\0Epoll_wait\0" in after and after.count(b"epoll_wait\0") == before.count(b"epoll_wait\0") - 1
    assert b"gettimeofday\0" in after and b"epoll_wait" in after  # the name with which the library itself finds the real function


def test_copy_without_waits__of_something_else__is_refused(tmp_path: Path) -> None:
    (tmp_path / "library").write_text("no library")
    with pytest.raises(ValueError, match="ELF"):
        libfaketime.copy_without_waits(tmp_path / "library", tmp_path)


SETTING = '{"offset": -86400, "zone": "Etc/GMT+12", "libfaketime": "/lib/lib.so"}'


def test_environment__of_postgresql(site: ModuleType) -> None:
    command = ["/bin/sh", "-c", 'exec "$@"', "sh", "/opt/programs/bin/postgres", "-D", "/data"]
    made = site.environment(SETTING, command, {"TZ": "UTC"})
    assert made == {
        "TZ": "UTC",
        "LD_PRELOAD": "/lib/lib.so",
        "FAKETIME": "-86400s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def test_environment__of_other_programs(site: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    for command in ([sys.executable, "-c", "pass"], "date", Path("/bin/date"), b"date"):
        made = site.environment(SETTING, command, {"PYTHONPATH": "/checkout", "TZ": "UTC"})
        assert made == {"PYTHONPATH": f"{SITE}{os.pathsep}/checkout", VARIABLE: SETTING, "TZ": "Etc/GMT+12"}
    assert site.environment(SETTING, ["python"], {"TZ": "Asia/Tokyo"})["TZ"] == "Asia/Tokyo"
