"""Progress lines, which a command writes to stderr after two seconds. Only a slow machine has them."""

from __future__ import annotations

import re

_LINE = re.compile(r"^[A-Z][a-z]+ [\w. ,-]+: [\d,]+(?: of [\d,]+ \(\d+ %\))?\n", re.MULTILINE)


def without_progress(errors: str) -> str:
    """Return the stderr of a command without its progress lines."""
    return _LINE.sub("", errors)
