"""Search the files of a Qdrant server for bytes."""

from __future__ import annotations

import os
from pathlib import Path


def places(folder: Path, needles: dict[str, bytes]) -> dict[str, set[str]]:
    """Return the traces found in each place of ``folder``: segments, write-ahead log, snapshots, or elsewhere."""
    found: dict[str, set[str]] = {}
    for path in (Path(parent, file) for parent, _, files in os.walk(folder) for file in files if file != "qdrant.log"):
        parts = path.relative_to(folder).parts
        place = next((part for part in parts if part in {"segments", "wal", "snapshots"}), "elsewhere")
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        for what, needle in needles.items():
            if needle in content:
                found.setdefault(place, set()).add(what)
    return found
