"""Commands with questions: their prompts, and their error if the input ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from findme.core.commands.prompts import unanswered_questions
from tests.support.commands import manage_here
from tests.support.processes import python
from tests.support.terminal import Terminal


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The answers, in this order. A prompt without an answer raises EOFError."""
    typed: list[str] = []

    def answer(prompt: str = "") -> str:
        print(prompt)  # noqa: T201  # as input() does
        if not typed:
            raise EOFError("EOF when reading a line")
        return typed.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("getpass.getpass", answer)
    monkeypatch.setattr("sys.stdin", Terminal())
    yield typed
    assert not typed


@pytest.mark.django_db
def test_createsuperuser__shows_the_choices_and_names_them_in_the_error(answers: list[str]) -> None:
    password = "correct horse battery staple"
    answers += ["ann@example.org", "Ann", "1990-02-01", "f", "female", password, password]
    code, out, err = manage_here("createsuperuser")
    assert code == 0, err
    assert "Gender (male, female, other): \n" in out and "Date of birth (YYYY-MM-DD): \n" in out
    assert "Error: 'f' is not a valid choice for gender. Use one of: male, female, other." in err
    assert User.objects.get().gender == "female"
    assert "one of" not in str(User._meta.get_field("gender").error_messages["invalid_choice"])


@pytest.mark.django_db
def test_createsuperuser__without_questions__names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--no-input", "--email", "ann@example.org", "--full_name", "Ann", "--date_of_birth", "1990-02-01", "--gender", "f"]
    assert manage_here("createsuperuser", *arguments) == (
        2,
        "",
        "'f' is not a valid choice for gender. Use one of: male, female, other.\n",
    )
    assert not User.objects.exists()


@pytest.mark.django_db
def test_createsuperuser__ctrl_d(answers: list[str]) -> None:
    answers += ["ann@example.org"]
    code, _, err = manage_here("createsuperuser")
    assert (code, err) == (2, ENDED)


@pytest.mark.django_db
def test_createsuperuser__ctrl_c(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(prompt: str = "") -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    code, _, err = manage_here("createsuperuser")
    assert code == 130
    assert err.endswith("createsuperuser: interrupted. No user was created.\n")


ENDED = "The input ended before the question was answered. Answer it on a terminal, or see --no-input in the command's --help.\n"


@pytest.mark.django_db
def test_createsuperuser__without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, err = manage_here("createsuperuser")
    assert (code, out) == (2, "")
    assert err.startswith("Standard input is not a terminal, so no question can be asked: no user was created.") and err.count("\n") == 1


@pytest.mark.django_db
def test_flush__input_ends__error_on_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, err = manage_here("flush")
    assert (code, err) == (2, ENDED)
    assert out.endswith("Type 'yes' to continue, or 'no' to cancel: \n")


def test_collectstatic__input_ends__error_on_its_own_line(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    settings.STATIC_ROOT = tmp_path
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, err = manage_here("collectstatic")
    assert (code, err) == (2, ENDED)
    assert out.endswith("Type 'yes' to continue, or 'no' to cancel: \n")


@pytest.mark.django_db
@pytest.mark.usefixtures("staff_user")
def test_changepassword__input_ends__does_not_name_a_missing_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(prompt: str, stream: TextIO | None = None) -> str:
        sys.stderr.write(prompt)  # as getpass() does without a terminal
        raise EOFError

    monkeypatch.setattr("getpass.getpass", ask)
    code, _, err = manage_here("changepassword", "a@example.org")
    assert code == 2
    assert err == (
        "Password: \nThe input ended before the question was answered. Run the command on a terminal, because it accepts the answer only there.\n"
    )
    assert manage_here("changepassword", "--no-input")[0] == 2


@pytest.fixture
def staff_user() -> None:
    call_command("createsuperuser", interactive=False, email="a@example.org", full_name="A", date_of_birth="1990-02-01", gender="other")


def test_unanswered_questions__a_file_that_ends_too_early_is_no_answer() -> None:
    with pytest.raises(EOFError, match="Compressed file"), unanswered_questions({}):
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")


@pytest.mark.at_length
@pytest.mark.parametrize(("encoding", "code"), [("ascii", 2), ("utf-8", 0)])
def test_output__that_cannot_hold_a_character(encoding: str, code: int) -> None:
    program = "from django.core.management.commands.check import Command as c; c.handle = lambda self, *_, **__: self.stdout.write(chr(0x159)); import runpy, sys; sys.argv = ['manage.py', 'check']; runpy.run_path('manage.py', run_name='__main__')"
    found = python("-c", program, PYTHONIOENCODING=encoding)
    assert found[0] == code
    if code:
        line = (
            "A text has the character U+0159, which 'ascii' cannot encode. Set a UTF-8 locale (LANG=C.UTF-8) or PYTHONIOENCODING=utf-8.\n"
        )
        assert found[1:] == ("", line)
