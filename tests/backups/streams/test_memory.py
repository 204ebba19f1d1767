"""A file of any size takes the same memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from findme.environment import BASE_DIR
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS

MIB = 1024 * 1024
MOST_BYTES = 64 * MIB
SCRIPT = """
import os, resource, sys, threading
import pyrage
from backups.streams.keys import Identity, Recipient
from backups.streams.load import load
from backups.streams.store import store

class Source:
    def __init__(self, kind, size):
        self.piece, self.left = (os.urandom(131072) if kind == "random" else bytes(131072)), size
    def read(self, most):
        given = self.piece[: min(most, self.left)]
        self.left -= len(given)
        return given

class Sink:
    def write(self, data):
        return len(data)

def there_and_back(kind, size):
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as sink:
        thread = threading.Thread(target=load, args=(source, Sink(), [Identity(key)], None), kwargs={"name": "a"})
        thread.start()
        found = store(Source(kind, size), sink, recipients)
        sink.close()
        thread.join()
    assert found.plain_size == size

key = pyrage.x25519.Identity.generate()
recipients = [Recipient("", key.to_public())] if sys.argv[2] == "encrypted" else []
there_and_back(sys.argv[1], 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
there_and_back(sys.argv[1], int(sys.argv[3]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.at_length("1024 MiB")
@pytest.mark.long
@pytest.mark.parametrize("size", [96, 1024], ids=["96 MiB", "1024 MiB"])
@pytest.mark.parametrize("way", ["plain", "encrypted"])
@pytest.mark.parametrize("kind", ["zeros", "random"])
def test_streams__memory_is_constant(kind: str, way: str, size: int) -> None:
    arguments = [sys.executable, "-c", SCRIPT, kind, way, str(size * MIB)]
    ran = subprocess.run(arguments, cwd=BASE_DIR, env=untraced(), capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert not ran.stderr
    assert int(ran.stdout) < MOST_BYTES
