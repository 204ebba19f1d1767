"""Exit codes of programs: an unexpected exception never ends with exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from findme.core.program import exit_code
from tests.support.processes import manage, python

SABOTAGE = (
    "import sys; sys.path.insert(0, {folder!r}); sys.argv = {arguments!r}; import runpy; runpy.run_module({module!r}, run_name='__main__')"
)


def test_exit_code__of_an_unexpected_exception(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: int("x")) == 2
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


@pytest.mark.parametrize("code", [0, 1, 2, None])
def test_exit_code__of_a_program_that_ends(code: int | None) -> None:
    assert exit_code(lambda: code) == code


def test_exit_code__interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.at_length("manage-arguments0-broken0")
@pytest.mark.parametrize(
    ("module", "arguments", "broken"),
    [
        ("manage", ["check"], "import django.core.management.commands.check as broken; broken.Command.handle = lambda *_, **__: {}['x']"),
        ("findme.embedded", ["status"], "import findme.embedded.server as broken; broken.running = lambda *_: {}['x']"),
        ("findme.tools.install", ["--check"], "import pathlib; pathlib.Path.is_file = lambda *_: {}['x']"),
        ("findme.tools.free_port", ["0"], "import socket; socket.socket = lambda *_: {}['x']"),
    ],
)
def test_programs__an_unexpected_exception__ends_with_2_and_a_traceback(module: str, arguments: list[str], broken: str) -> None:
    run = (
        f"import runpy, sys; sys.argv = {['x', *arguments]!r}; {broken}; runpy.run_module({module!r}, run_name='__main__', alter_sys=False)"
    )
    code, out, err = python("-W", "ignore::RuntimeWarning", "-c", run)
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last)") and err.endswith("KeyError: 'x'\n")


def test_programs__a_module_of_ours_that_cannot_be_read__ends_with_2() -> None:
    code, out, err = python(
        "-c", "import sys, runpy; sys.modules['findme.core.commands.stdout'] = None; runpy.run_path('manage.py', run_name='__main__')"
    )
    assert (code, out) == (2, "")
    assert "findme.core.commands.stdout" in err.splitlines()[-1]


@pytest.mark.parametrize("port", ["abc", "-1", "70000", ""])
def test_free_port__invalid_port(port: str) -> None:
    assert python("-m", "findme.tools.free_port", port) == (2, "", f"PORT is {port!r}: it must be a whole number from 0 to 65535.\n")


@pytest.mark.at_length
def test_shell__a_script_keeps_its_traceback() -> None:
    code, out, err = manage(
        "shell", "--no-imports", "-c", "a = 1\nb = 2\nfrom django.core.management import CommandError\nraise CommandError('no')"
    )
    assert (code, out) == (2, "")
    assert err == (
        'Traceback (most recent call last):\n  File "<string>", line 4, in <module>\ndjango.core.management.base.CommandError: no\n'
    )


@pytest.mark.at_length
def test_shell__a_script_may_choose_its_exit_code() -> None:
    assert manage("shell", "--no-imports", "-c", "raise SystemExit(7)")[0] == 7


@pytest.mark.at_length
def test_version__is_that_of_findme(tmp_path: Path) -> None:
    version = python("-c", "import findme.core.version; print(findme.core.version.__version__)")[1]
    for arguments in (["version"], ["--version"], ["migrate", "--version"], ["check", "--version"]):
        assert manage(*arguments) == (0, version, "")
    metadata = "import hatchling.builders.wheel as w; print(w.WheelBuilder('.').metadata.version)"
    assert python("-c", metadata) == (0, version, "")
