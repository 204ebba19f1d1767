"""A value that two users share: what names the other user is left out, and nothing else."""

from __future__ import annotations

import unicodedata
from uuid import uuid4

import pytest

from privacy.shared_data import LEFT_OUT, without_person

JOSE = "Jos\u00e9 Garc\u00eda"


def without(text: str, full_name: str, email: str = "zq@example.org") -> object:
    return without_person({"text": text}, uuid4(), email, full_name)["text"]


@pytest.mark.parametrize(
    ("text", "full_name"),
    [
        (unicodedata.normalize("NFD", "jos\u00e9.mp4"), JOSE),
        ("GARCIA_1.mp4", JOSE),
        ("josegarcia", unicodedata.normalize("NFD", JOSE)),
        ("\u092a\u094d\u0930\u093f\u092f\u093e 1", "\u092a\u094d\u0930\u093f\u092f\u093e \u0936\u0930\u094d\u092e\u093e"),
        ("\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", "\u0645\u062d\u0645\u062f"),
        ("\u548c\u674e\u660e\u901a\u8bdd", "\u674e\u660e"),
        ("john", "\uff2a\uff4f\uff48\uff4e \uff33\uff4d\uff49\uff54\uff48"),
        ("for Al!", "Al"),
        ("li_wu.webm", "Li Wu"),
        ("LiWu", "Li Wu"),
        ("zq@example.org", "Al"),
    ],
)
def test_text__that_names_the_person__is_left_out(text: str, full_name: str) -> None:
    assert without(text, full_name) == LEFT_OUT


@pytest.mark.parametrize(
    ("text", "full_name"),
    [("signal and quality", "Al"), ("liquid wulfenite", "Li Wu"), ("josephine", JOSE), ("\u00e9", JOSE), ("codec", ""), ("x", "?")],
)
def test_text__with_the_letters_of_a_name_in_other_words__stays(text: str, full_name: str) -> None:
    assert without(text, full_name) == text
