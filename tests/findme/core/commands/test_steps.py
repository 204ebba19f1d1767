"""Log records of a long job that a command prints."""

from __future__ import annotations

import logging

import pytest

from findme.core.commands.steps import printed_steps

NAME = "findme.some_job"


def test_printed_steps__from_info_on_for_every_log_level(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    caplog.set_level(logging.WARNING)
    step = logging.getLogger(f"{NAME}.part")
    with printed_steps(NAME, said.append):
        step.debug("not this")
        step.info("%s points written", 3)
        step.warning("and this")
    step.info("not that")
    assert said == ["3 points written", "and this"]
    assert caplog.messages == []


def test_printed_steps__log_has_them_too_if_its_level_allows(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    caplog.set_level(logging.INFO)
    with printed_steps(NAME, said.append):
        logging.getLogger(NAME).info("a step")
    assert said == caplog.messages == ["a step"]


def test_printed_steps__restores_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(NAME)
    before = logger.level, logger.propagate, list(logger.handlers)
    with pytest.raises(KeyboardInterrupt), printed_steps(NAME, lambda _line: None):
        raise KeyboardInterrupt
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
