"""A signal while age calls Python is raised as what its handler raises, and not as an error of age."""

from __future__ import annotations

import subprocess
import sys

import pytest

from findme.environment import BASE_DIR
from tests.at_length import examples
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS

SCRIPT = """
import io, os, random, signal, sys
import pyrage
from backups.streams.keys import Identity, Recipient
from backups.streams.load import load
from backups.streams.store import store

key = pyrage.x25519.Identity.generate()
content, sink = random.Random(1).randbytes(1_000_000), io.BytesIO()
found = store(io.BytesIO(content), sink, [Recipient("", key.to_public())])
is_running, interrupted = False, 0

def interrupt(number, frame):
    global is_running
    if is_running:
        is_running = False
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for seed in range(int(sys.argv[1])):
    try:
        is_running = True
        signal.setitimer(signal.ITIMER_REAL, random.Random(seed).uniform(1e-6, 0.004))
        if seed % 2:
            store(io.BytesIO(content), io.BytesIO(), [Recipient("", key.to_public())])
        else:
            load(io.BytesIO(sink.getvalue()), io.BytesIO(), [Identity(key)], found, name="a")
        is_running = False
    except KeyboardInterrupt:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(interrupted)
"""


@pytest.mark.scaled
def test_streams__a_signal_at_any_moment__is_no_error_of_age() -> None:
    """Its handler can also run at the beginning of a function that age calls."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(examples(1000))],
        cwd=BASE_DIR,
        env=untraced(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert ran.stderr == ""
    assert int(ran.stdout) > 0
