"""What a restored database ends: each model says it, and all of it happens or none."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core import checks
from django.core.checks import CheckMessage

from findme.core.db import restored
from findme.core.system_checks import check_after_restore
from videos.models import Video


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a copy of the registered functions, which is used during the test."""
    functions = dict(restored._functions)
    monkeypatch.setattr(restored, "_functions", functions)
    return functions


def found() -> list[CheckMessage]:
    return check_after_restore()


def test_check__of_all_installed_models__finds_nothing() -> None:
    assert found() == []


def test_check__runs_before_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Video, "after_restore")
    assert "findme.E003" in [error.id for error in checks.run_checks()]


def test_check__a_model_of_ours_without_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Video, "after_restore")
    (error,) = found()
    assert (error.id, error.obj) == ("findme.E003", Video)
    assert error.msg == "videos.Video does not say what happens to its rows after a restore of the database."
    assert "Set after_restore to KEPT" in str(error.hint)


@pytest.mark.parametrize("label", sorted(restored.DECISIONS_OF_OTHERS))
def test_check__a_model_of_another_package_without_a_decision(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a package with the devices of a second factor would be, which is installed later."""
    monkeypatch.delitem(restored.DECISIONS_OF_OTHERS, label)
    assert apps.get_model(label) in [error.obj for error in found()]


def test_check__a_decision_for_a_function_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Video, "after_restore", "films")
    (error,) = found()
    assert "no function is registered as 'films'" in error.msg


def test_check__a_function_that_no_model_names_any_more(registered: dict[str, Any]) -> None:
    decisions = {restored.decision(model) for model in apps.get_models()}
    assert decisions == {restored.KEPT, *registered}


@pytest.mark.django_db
def test_end_everything__returns_what_was_said(registered: dict[str, Any]) -> None:
    registered.clear()
    restored.register("a", lambda: "A was ended.")
    restored.register("b", lambda: "")
    assert restored.end_everything() == ["A was ended."]


@pytest.mark.django_db(transaction=True)
def test_end_everything__with_an_error__ends_nothing(registered: dict[str, Any]) -> None:
    def fail() -> str:
        raise RuntimeError("The test stops it here.")

    Session.objects.create(session_key="a", session_data="", expire_date="2030-01-01T00:00:00Z")
    restored.register("last", fail)
    with pytest.raises(RuntimeError):
        restored.end_everything()
    assert Session.objects.count() == 1
