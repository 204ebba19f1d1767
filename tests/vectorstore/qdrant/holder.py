"""Another process that holds the embedded vector store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.untraced import untraced

CHECKOUT = Path(__file__).parents[3]

PREAMBLE = """
import os, sys
from django.conf import settings
settings.configure(QDRANT_URL="", QDRANT_PATH=sys.argv[1], QDRANT_TIMEOUT=float(sys.argv[2]), QDRANT_COLLECTION="profile_embeddings")
from qdrant_client import models
from findme.core.errors import UserFacingError
from vectorstore.qdrant.connection import qdrant
"""


def run_script(script: str, folder: Path, seconds: float = 10) -> subprocess.CompletedProcess[str]:
    """Run the script, with ``qdrant`` for the store in ``folder``. Wait for its end."""
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + script, str(folder), str(seconds)]
    return subprocess.run(command, cwd=CHECKOUT, env=untraced(), capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def script_process(script: str, folder: Path, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Run the script as ``run_script`` does, and kill the process at the end of the block."""
    command = [sys.executable, "-c", PREAMBLE + script, str(folder), str(seconds)]
    with subprocess.Popen(command, cwd=CHECKOUT, env=untraced(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the store until its stdin is closed."""
    script = "with qdrant() as client:\n    print('held', flush=True)\n    sys.stdin.read()\n"
    with script_process(script, folder, 10) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
