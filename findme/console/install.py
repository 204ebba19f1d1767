"""``python -m findme.console.install`` makes the virtual environment ``.venv`` out of ``requirements.lock``, by a bare Python 3.11 or later;
``--check`` only says whether that was done.

It is made anew when the lock has changed, so that nothing is in it but what the lock says, and left alone otherwise.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent.parent
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
# The lock names every package, so pip need not resolve anything. Without --no-deps, pip 23 ignores the pinned version of a package
# that another one requires with an extra ("coverage[toml]"), and takes the newest release, which has no hash in the lock.
INSTALL = (*PIP, "install", "--quiet", "--require-hashes", "--no-deps", "-r")
CHECK = (*PIP, "check")


def is_current(folder: Path = HERE) -> bool:
    """Whether ``.venv`` in FOLDER holds what its ``requirements.lock`` says."""
    done = folder / ".venv" / "requirements.lock"
    return (
        done.is_file()
        and done.read_bytes() == (folder / "requirements.lock").read_bytes()
        and (folder / ".venv" / "bin" / "python").exists()
    )


def install(folder: Path = HERE) -> bool:
    """Make ``.venv`` in FOLDER unless it is current, and say whether anything was to be done. Two at once wait for one another. Raises
    subprocess.CalledProcessError where Python or pip fails; the next call begins again."""
    lock, environment = folder / "requirements.lock", folder / ".venv"
    with lock.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        if is_current(folder):
            return False
        sys.stderr.write("Installing the packages of requirements.lock into .venv ...\n")
        wanted = locked.read()
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)  # noqa: S603  # our own words
        python = str(environment / "bin" / "python")
        subprocess.run([python, *INSTALL, str(lock)], check=True)  # noqa: S603  # our own words
        subprocess.run([python, *CHECK], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words
        (environment / "requirements.lock").write_bytes(wanted)
    return True


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(not is_current())
    try:
        install()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
