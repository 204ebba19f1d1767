"""``python -m findme.console.install`` makes the virtual environment ``.venv`` out of ``requirements.lock``, by a bare Python 3.11 or later.

It is made anew when the lock has changed, so that nothing is in it but what the lock says, and left alone otherwise.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent.parent
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--require-hashes", "-r")


def install(folder: Path = HERE) -> bool:
    """Have ``.venv`` in FOLDER hold what its ``requirements.lock`` says, and say whether anything was to be done. Two at once wait for one
    another. Raises subprocess.CalledProcessError where Python or pip fails; the next call begins again."""
    lock, environment = folder / "requirements.lock", folder / ".venv"
    with lock.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        wanted, done = locked.read(), environment / "requirements.lock"
        if done.is_file() and done.read_bytes() == wanted and (environment / "bin" / "python").exists():
            return False
        sys.stderr.write("Installing the packages of requirements.lock into .venv ...\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)  # noqa: S603  # our own words
        subprocess.run([str(environment / "bin" / "python"), *PIP, str(lock)], check=True)  # noqa: S603  # our own words
        done.write_bytes(wanted)
    return True


if __name__ == "__main__":
    try:
        install()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
