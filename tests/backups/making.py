"""Make backups for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage

from backups.create import Request
from backups.qdrant import Servers
from backups.streams.keys import Recipient, parse_recipient

SERVERS = Servers(urls=(), seconds=60)


def request(**changes: Any) -> Request:
    return replace(Request(only="", tables=(), recipients=(), servers=SERVERS), **changes)


def key_pair(path: Path) -> Recipient:
    """Write a new secret key of age to ``path``, and return its recipient."""
    identity = pyrage.x25519.Identity.generate()
    path.touch(mode=0o600)
    path.write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    return parse_recipient(str(identity.to_public()))


def contents(folder: Path) -> list[str]:
    """Return the names of all files and folders below ``folder``."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def manifest_fields(folder: Path) -> dict[str, Any]:
    """Return the manifest of the only backup in ``folder``."""
    (path,) = folder.glob("*/manifest.json")
    fields: dict[str, Any] = json.loads(path.read_bytes())["manifest"]
    return fields
