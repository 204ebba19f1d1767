from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django import forms

from findme.core.admin.form_values import LONGEST, SHOWN, describe_change, plain_value

TEXT = forms.CharField()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, ""),
        ("", ""),
        (" a\r\nb ", "a\nb"),
        (True, True),
        (3, 3),
        (0.25, 0.25),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))), "2026-01-02 01:04:00+00:00"),
        ({"b": 1, "a": [1]}, '{"a": [1], "b": 1}'),
        ([3, 1], "[3, 1]"),
    ],
)
def test_plain_value__kinds(value: Any, plain: Any) -> None:
    assert plain_value(TEXT, value) == plain


def test_plain_value__long_text_differs_at_its_end() -> None:
    one, other = plain_value(TEXT, "a" * 100_000 + "b"), plain_value(TEXT, "a" * 100_000 + "c")
    assert one != other and len(one) < LONGEST + 200


def test_describe_change__long_text_from_where_it_differs() -> None:
    same = "word " * 40
    sentence = describe_change(TEXT, same + "before" + " x" * 200, same + "after")
    was, now = sentence.removeprefix("was ").split(", is now ")
    assert was.startswith("“…") and "before" in was and was.endswith("…”") and len(was) <= SHOWN + 4
    assert now.startswith("“…") and now.endswith("after”")


def test_describe_change__choice_and_flag() -> None:
    choice = forms.ChoiceField(choices=[("a", "An a"), ("b", "A b")])
    assert describe_change(choice, "a", "x") == "was “An a”, is now “x”"
    assert describe_change(forms.BooleanField(), False, True) == "was no, is now yes"
    assert describe_change(TEXT, None, "a") == "is “a”"
