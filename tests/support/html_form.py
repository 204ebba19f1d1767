"""The fields of a page's forms, with the values that a browser posts."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class _Fields(HTMLParser):
    """Collects the form's successful controls (a term of the HTML specification), except buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._select = self._textarea = ""

    def _add(self, name: str, value: str) -> None:
        self.fields.setdefault(name, []).append(value)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value = found.get("name") or "", found.get("value") or ""
        if tag == "select":
            self._select = name
        elif tag == "textarea":
            self._textarea = name
            self._add(name, "")
        elif tag == "option" and self._select and "selected" in found:
            self._add(self._select, value)
        elif tag == "input" and name:
            kind = found.get("type", "text")
            if kind in {"checkbox", "radio"} and "checked" in found:
                self._add(name, value or "on")
            elif kind not in {"checkbox", "radio", "submit", "button", "search"}:
                self._add(name, value)

    def handle_data(self, data: str) -> None:
        if self._textarea:
            # the first line break in a textarea is not part of its value; a browser posts CR LF
            self.fields[self._textarea][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            text = self.fields[self._textarea][-1].removeprefix("\r").removeprefix("\n")
            self.fields[self._textarea][-1] = text.replace("\r\n", "\n").replace("\n", "\r\n")
            self._textarea = ""


def fields_of(response: Any) -> dict[str, Any]:
    """Return the fields of all forms on the page, for ``Client.post``."""
    assert response.status_code == 200, response.status_code
    parser = _Fields()
    parser.feed(response.content.decode())
    return dict(parser.fields)
