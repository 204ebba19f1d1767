"""Read the settings in the environment and ``.env`` strictly, with one-line errors.

The environment takes precedence over ``.env``. An empty value counts as not set.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from environ import ImproperlyConfigured

from findme import dotenv

PACKAGES_DIR = Path(__file__).resolve().parent.parent
"""The folder of the packages: the checkout, or the environment's ``site-packages`` where the wheel is installed."""
BASE_DIR = PACKAGES_DIR if (PACKAGES_DIR / "manage.py").is_file() else Path.cwd()
"""The folder of ``.env``, ``.findme`` and ``staticfiles``: the checkout, or the working folder of a command of the wheel."""
FOREIGN_PREFIXES = ("DJANGO_", "PG", "PYTHON", "COMPOSE_", "DOCKER_", "NO_COLOR", "LANG", "LC_", "TZ")
"""Prefixes of names in ``.env`` that Django, libpq, Python, Docker Compose and the C library read."""
MAX_COUNT = 2**31 - 1
"""The largest number that every column and every function of PostgreSQL takes."""
MAX_DAYS = 36_500
"""A hundred years. A date so long before or after today is one that Python and PostgreSQL can read."""
ON, OFF = ("on", "true", "yes", "y", "1"), ("off", "false", "no", "n", "0")


def _switch(text: str) -> bool:
    if text.lower() not in ON + OFF:
        raise ValueError(text)
    return text.lower() in ON


def _whole_number(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)) or number < 0:
        raise ValueError(text)
    return number


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_day(text: str) -> bool:
    """Return whether the text is a day ``YYYY-MM-DD``, or ``MM-DD`` of a leap year."""
    if not re.fullmatch(r"(\d{4}-)?\d{2}-\d{2}", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text if len(text) == 10 else f"2000-{text}")
    except ValueError:
        return False
    return True


READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    bool: (_switch, "on or off"),
    int: (_whole_number, "a whole number, 0 or more"),
    float: (_number, "a number, 0 or more"),
    list: (_parts, "values separated by commas"),
}


class Environment(environ.Env):  # type: ignore[misc]  # it ships no types
    """A strict django-environ.

    django-environ itself reads ``DEBUG=flase`` as off and ``1e3`` as 13, and its errors do not name the setting. It also treats a value that
    begins with ``$``, as a random key may, as the name of another setting.
    """

    asked: ClassVar[set[str]] = set()
    """The names of the settings that were read."""

    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False) -> Any:
        """Return the value of ``var`` as ``cast``. Raise ImproperlyConfigured if it has another type, or if it is missing without a default."""
        self.asked.add(var)
        read, wanted = READERS[cast or str]
        if not (text := os.environ.get(var)):
            if default is self.NOTSET:
                raise ImproperlyConfigured(f"{var} is not set: it must be {wanted}.")
            return default
        try:
            return read(text)
        except ValueError:
            raise ImproperlyConfigured(f"{var} is {text!r}: it must be {wanted}.") from None

    def count(self, var: str, default: int, *, least: int = 1, most: int = MAX_COUNT) -> int:
        """Return a whole number from ``least`` to ``most``. Raise ImproperlyConfigured."""
        self.asked.add(var)
        text = os.environ.get(var) or str(default)
        if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
            wanted = f", {least} or more" if most == MAX_COUNT else f" from {least} to {most}"
            raise ImproperlyConfigured(f"{var} is {text!r}: it must be a whole number{wanted}.")
        return int(text)

    def choice(self, var: str, values: tuple[str, ...]) -> str:
        """Return one of ``values``, ignoring case; the first is the default. Raise ImproperlyConfigured."""
        text: str = self.str(var, default=values[0])
        if text.lower() not in values:
            raise ImproperlyConfigured(f"{var} is {text!r}: it must be {' or '.join(values)}.")
        return text.lower()

    def networks(self, var: str, words: tuple[str, ...] = ()) -> list[str]:
        """Return IP addresses and networks, separated by commas, or ``words``. Raise ImproperlyConfigured."""
        parts: list[str] = self.list(var, default=[])
        for part in parts:
            try:
                part in words or ip_network(part)
            except ValueError:
                others = "".join(f", or {word!r}" for word in words)
                raise ImproperlyConfigured(
                    f"{var} has {part!r}: it must be an IP address, or a network such as 10.0.0.0/8 without host bits{others}."
                ) from None
        return parts

    def names(self, var: str) -> list[str]:
        """Return names of small letters, digits, ``-`` and ``_``, separated by commas. Raise ImproperlyConfigured."""
        names: list[str] = self.list(var, default=[])
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
                raise ImproperlyConfigured(
                    f"{var} has {name!r}: a name has at most 40 small letters, digits, '-' and '_', and begins with a letter."
                )
        return list(dict.fromkeys(names))

    def file_stores(self, var: str) -> dict[str, str]:
        """Return URLs of stores by prefix of addresses, ``PREFIX=URL`` separated by commas. Raise ImproperlyConfigured."""
        stores: dict[str, str] = {}
        for part in self.list(var, default=[]):
            found = re.fullmatch(r"(.+?/)=([a-z][a-z0-9+]*://.+|/.+)", part)
            if found is None or found[1].endswith(":///") or found[1] == "/":
                raise ImproperlyConfigured(
                    f"{var} has {part!r}: it must be PREFIX/=URL, such as https://cdn.example/videos/=s3://BUCKET/videos. The prefix ends with '/'."
                )
            if found[1] in stores:
                raise ImproperlyConfigured(f"{var} has the prefix {found[1]!r} twice: an address has one store.")
            stores[found[1]] = found[2]
        return stores

    def rules(self, var: str) -> dict[str, int]:
        """Return numbers of days by name of a rule, ``NAME=DAYS`` separated by commas. Raise ImproperlyConfigured."""
        rules: dict[str, int] = {}
        for part in self.list(var, default=[]):
            found = re.fullmatch(r"([a-z][a-z_]*) ?= ?([1-9][0-9]{0,4})", part)
            if found is None or found[1] in rules:
                raise ImproperlyConfigured(f"{var} has {part!r}: it must be NAME=DAYS, each name once, such as matches=730.")
            rules[found[1]] = int(found[2])
        return rules

    def days(self, var: str) -> list[str]:
        """Return days separated by commas: ``YYYY-MM-DD``, or ``MM-DD`` for every year. Raise ImproperlyConfigured."""
        days: list[str] = self.list(var, default=[])
        for day in days:
            if not _is_day(day):
                raise ImproperlyConfigured(f"{var} has {day!r}: it must be a day such as 2027-03-29, or such as 12-25 for every year.")
        return days

    def time_zone(self, var: str, default: str) -> str:
        """Return the name of a time zone. Raise ImproperlyConfigured."""
        name: str = self.str(var, default=default)
        try:
            ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ImproperlyConfigured(f"{var} is {name!r}: it must be a time zone such as Europe/Berlin.") from None
        return name

    def folder(self, var: str, default: str) -> Path:
        """Return the folder. A relative one is inside the checkout, whatever the working folder of the command."""
        return BASE_DIR / Path(self.str(var, default=default))

    def file(self, var: str, default: str) -> Path:
        """Return the path of a file, as ``folder`` does."""
        return self.folder(var, default=default)


env = Environment()


_in_dotenv: dict[str, str] = {}
"""The names in ``.env``, each with the file and the line."""


def read_dotenv(path: Path = BASE_DIR / ".env") -> None:
    """Add the settings of ``.env`` to the environment, which takes precedence. Raise ImproperlyConfigured for an invalid line."""
    if not path.is_file():
        return
    try:
        entries = dotenv.parse(path.read_text())
    except UnicodeDecodeError:
        raise ImproperlyConfigured(f"{path} is not UTF-8 text.") from None
    except dotenv.Unreadable as error:
        raise ImproperlyConfigured(f"{path}, {error}") from None
    for entry in entries:
        _in_dotenv[entry.name] = f"{path}, line {entry.line}"
        os.environ.setdefault(entry.name, entry.value)


def refuse_misspelled_names() -> None:
    """Raise ImproperlyConfigured for a name in ``.env`` that is similar to a setting. Call it after all settings have been read."""
    for name, place in _unknown_in_dotenv():
        if near := get_close_matches(name.upper(), env.asked, n=1, cutoff=0.8):
            raise ImproperlyConfigured(f"{place}: {name} is not a setting. Did you mean {near[0]}?")


def unknown_names() -> str | None:
    """Return one line with the names in ``.env`` that FindMe does not read; None if there are none."""
    found = [f"{name} ({place})" for name, place in _unknown_in_dotenv()]
    return f"Unknown names were ignored: {', '.join(found)}. .env.example lists all settings." if found else None


def _unknown_in_dotenv() -> list[tuple[str, str]]:
    return [(name, place) for name, place in _in_dotenv.items() if name not in env.asked and not name.startswith(FOREIGN_PREFIXES)]


def default_to_debug() -> None:
    """Turn DEBUG on unless the environment or ``.env`` sets it. Call it for ``manage.py``, never for WSGI or ASGI."""
    read_dotenv()
    os.environ["DEBUG"] = os.environ.get("DEBUG") or "on"


def embedded_postgres_folder() -> Path:
    return env.folder("EMBEDDED_POSTGRES_DIR", default=".findme/postgres")


REQUIRED_IN_PRODUCTION = {
    "DATABASE_URL": "postgresql://USER:PASSWORD@HOST:PORT/NAME",
    "SECRET_KEY": "50 random characters, kept secret",
    "ALLOWED_HOSTS": "the host names of this site, separated by commas",
}


def missing_settings() -> str | None:
    """Return one line that names every missing setting that production requires; None if nothing is missing."""
    missing = [f"{name} ({meaning})" for name, meaning in REQUIRED_IN_PRODUCTION.items() if not os.environ.get(name)]
    if not missing:
        return None
    return f"Not set: {'; '.join(missing)}. Set what is missing in the environment or in .env, as .env.example shows."
