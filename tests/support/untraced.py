"""The environment for processes whose lines other tests go through in their own process: to trace them would take a third of their time again."""

from __future__ import annotations

import os


def untraced() -> dict[str, str]:
    """This process's environment, without what makes coverage follow into another one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
