"""``python -m findme.tools.install [PROFILE]`` creates the virtual environment ``.venv`` from a lock file, with only Python and pip.

With ``--check`` the exit code only reports whether that has been done. If the lock file has changed or the profile differs, ``.venv`` is created
again, so it contains exactly the packages of the lock file.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from findme.core.program import exit_code

HERE = Path(__file__).resolve().parent.parent.parent
LOCKS = {"development": "requirements.lock", "production": "requirements-production.lock"}
"""The lock file of each profile. The second one has the same versions, without the embedded PostgreSQL and the test tools."""
PIP = ("--disable-pip-version-check", "--no-input")
# The lock names every package, so pip need not resolve anything. Without --no-deps, pip 23 ignores the pinned version of a package
# that another one requires with an extra ("coverage[toml]"), and takes the newest release, which has no hash in the lock.
# A package without a wheel would be built with build tools that no lock pins.
INSTALL = (*PIP, "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r")
CHECK = (*PIP, "check")


def is_current(folder: Path = HERE, profile: str = "development") -> bool:
    """Return whether ``.venv`` in ``folder`` was created from the current lock file of ``profile``."""
    done = folder / ".venv" / "requirements.lock"
    return done.is_file() and done.read_bytes() == (folder / LOCKS[profile]).read_bytes() and (folder / ".venv" / "bin" / "python").exists()


def install(folder: Path = HERE, profile: str = "development") -> bool:
    """Create ``.venv`` in ``folder`` unless it is current, and return whether it was created.

    Two processes that install at once wait for each other. Raises subprocess.CalledProcessError if Python or pip fails; the next call starts over.
    """
    lock, environment = folder / LOCKS[profile], folder / ".venv"
    with (folder / "requirements.lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if is_current(folder, profile):
            return False
        sys.stderr.write(f"Installing the packages of {lock.name} into .venv ...\n")
        wanted = lock.read_bytes()
        python = str(environment / "bin" / "python")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)  # noqa: S603  # our own words
        subprocess.run([python, "-m", "pip", *INSTALL, str(lock)], check=True)  # noqa: S603  # our own words
        subprocess.run([python, "-m", "pip", *CHECK], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words
        (environment / "requirements.lock").write_bytes(wanted)
    return True


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    profile = next((argument for argument in arguments if argument != "--check"), "development")
    if profile not in LOCKS:
        sys.stderr.write(f"PROFILE is {profile!r}: it must be {' or '.join(LOCKS)}.\n")
        return 2
    if check:
        return int(not is_current(profile=profile))
    try:
        install(profile=profile)
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
