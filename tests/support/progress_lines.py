"""The lines of progress that a command of more than two seconds writes to stderr: a slow machine has them where a fast one has none."""

from __future__ import annotations

import re

_LINE = re.compile(r"^[A-Z][a-z]+ [\w. ,-]+: [\d,]+(?: of [\d,]+ \(\d+ %\))?\n", re.MULTILINE)


def without_progress(errors: str) -> str:
    """Return what a command wrote to stderr, without its progress."""
    return _LINE.sub("", errors)
