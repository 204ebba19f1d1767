"""The example of a request in docs/privacy.md works with the settings that it names."""

from __future__ import annotations

import re

from findme.environment import BASE_DIR


def test_example__names_each_recipient_in_its_setting() -> None:
    text = (BASE_DIR / "docs" / "privacy.md").read_text()
    example = text[text.index("### Example") : text.index("### States")]
    told = set(re.findall(r"tell-recipient ID (\S+)", example))
    set_up = {name for value in re.findall(r"`REQUEST_RECIPIENTS=([a-z0-9_,-]+)`", example) for name in value.split(",")}
    assert told
    assert told <= set_up
