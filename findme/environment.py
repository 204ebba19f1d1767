"""What the environment and ``.env`` say, with the words for what is missing or wrong. The environment wins; an empty value is none."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import environ
from environ import ImproperlyConfigured

from findme import dotenv

PACKAGES_DIR = Path(__file__).resolve().parent.parent
"""The folder of the packages: the checkout, or the environment's ``site-packages`` where the wheel is installed."""
BASE_DIR = PACKAGES_DIR if (PACKAGES_DIR / "manage.py").is_file() else Path.cwd()
"""The folder of ``.env``, ``.findme`` and ``staticfiles``: the checkout, or the working folder of a command of the wheel."""
READ_BY_OTHERS = ("DJANGO_", "PG", "PYTHON", "COMPOSE_", "DOCKER_", "NO_COLOR", "LANG", "LC_", "TZ")
"""Names in ``.env`` that begin so are for Django, libpq, Python, Docker Compose and the C library."""
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


READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    bool: (_switch, "on or off"),
    int: (_whole_number, "a whole number, 0 or more"),
    float: (_number, "a number, 0 or more"),
    list: (_parts, "values separated by commas"),
}


class Environment(environ.Env):  # type: ignore[misc]  # it ships no types
    """django-environ, strict: its own reader takes ``DEBUG=flase`` for off and ``1e3`` for 13, gives a traceback that names no setting, and
    takes a value that begins with ``$``, as a random key may, for the name of another setting."""

    asked: ClassVar[set[str]] = set()
    """The names of the settings that were read."""

    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False) -> Any:
        """The value of VAR as CAST. Raises ImproperlyConfigured for one that is not of that type, or for none without a default."""
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

    def count(self, var: str, default: int) -> int:
        """A number of things of which there is at least one. Raises ImproperlyConfigured."""
        self.asked.add(var)
        text = os.environ.get(var) or str(default)
        if not text.isdecimal() or int(text) < 1:
            raise ImproperlyConfigured(f"{var} is {text!r}: it must be a whole number, 1 or more.")
        return int(text)

    def choice(self, var: str, values: tuple[str, ...]) -> str:
        """One of ``values``, in whatever case; the first is the default. Raises ImproperlyConfigured."""
        text: str = self.str(var, default=values[0])
        if text.lower() not in values:
            raise ImproperlyConfigured(f"{var} is {text!r}: it must be {' or '.join(values)}.")
        return text.lower()

    def networks(self, var: str, words: tuple[str, ...] = ()) -> list[str]:
        """IP addresses and networks, separated by commas, or one of ``words``. Raises ImproperlyConfigured."""
        parts: list[str] = self.list(var, default=[])
        for part in parts:
            try:
                part in words or ip_network(part)
            except ValueError:
                others = "".join(f", or {word!r}" for word in words)
                raise ImproperlyConfigured(
                    f"{var} has {part!r}: it must be an IP address, or a network as 10.0.0.0/8 without bits of a host{others}."
                ) from None
        return parts

    def folder(self, var: str, default: str) -> Path:
        """A relative one is inside the checkout, from wherever the command is run."""
        return BASE_DIR / Path(self.str(var, default=default))


env = Environment()


_in_dotenv: dict[str, str] = {}
"""The names in ``.env``, each with the file and the line."""


def read_dotenv(path: Path = BASE_DIR / ".env") -> None:
    """Put the settings of ``.env`` beside those of the environment, which win. Raises ImproperlyConfigured for a line that is no setting."""
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
    """Raise ImproperlyConfigured for a name in ``.env`` that is nearly the name of a setting. Call it when all settings have been read."""
    for name, place in _unknown_in_dotenv():
        if near := get_close_matches(name.upper(), env.asked, n=1, cutoff=0.8):
            raise ImproperlyConfigured(f"{place}: {name} is no setting. Did you mean {near[0]}?")


def unknown_names() -> str | None:
    """Return one line that names what ``.env`` has and FindMe does not read; None if there is nothing."""
    found = [f"{name} ({place})" for name, place in _unknown_in_dotenv()]
    return f"No setting of FindMe, and not read: {', '.join(found)}. .env.example has all settings." if found else None


def _unknown_in_dotenv() -> list[tuple[str, str]]:
    return [(name, place) for name, place in _in_dotenv.items() if name not in env.asked and not name.startswith(READ_BY_OTHERS)]


def default_to_debug() -> None:
    """DEBUG is on unless the environment or ``.env`` says something else: for ``manage.py``, and never for WSGI or ASGI."""
    read_dotenv()
    os.environ["DEBUG"] = os.environ.get("DEBUG") or "on"


def embedded_postgres_folder() -> Path:
    return env.folder("EMBEDDED_POSTGRES_DIR", default=".findme/postgres")


REQUIRED_IN_PRODUCTION = {
    "DATABASE_URL": "postgresql://USER:PASSWORD@HOST:PORT/NAME",
    "SECRET_KEY": "50 random characters that nobody else knows",
    "ALLOWED_HOSTS": "the names that this site is reached by, separated by commas",
}


def missing_settings() -> str | None:
    """One line that names every setting that production needs and that is not there; None if nothing is missing."""
    missing = [f"{name} ({meaning})" for name, meaning in REQUIRED_IN_PRODUCTION.items() if not os.environ.get(name)]
    if not missing:
        return None
    return f"Not set: {'; '.join(missing)}. Set what is missing in the environment or in .env, as .env.example shows."
