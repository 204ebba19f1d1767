"""What the environment and ``.env`` say, read once, with the words for what is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()


def read_dotenv(path: Path = BASE_DIR / ".env") -> None:
    """Put the settings of ``.env`` beside those of the environment, which win."""
    if path.is_file():
        environ.Env.read_env(path)


def default_to_debug() -> None:
    """DEBUG is on unless the environment or ``.env`` says something else: for ``manage.py``, and never for WSGI or ASGI."""
    read_dotenv()
    os.environ.setdefault("DEBUG", "on")


def database_settings(url: str) -> dict[str, Any]:
    """Django's settings for a ``postgresql://`` URL.

    ``?host=/run/x`` is a folder with a socket, as libpq has it; it is put into HOST, where ``dbshell`` and ``pg_dump`` find it too.
    Raises ValueError for a URL of another kind, without its password.
    """
    parsed = environ.Env.db_url_config(url)
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise ValueError(f"DATABASE_URL has the scheme {url.partition(':')[0]!r}: FindMe needs postgresql://USER:PASSWORD@HOST:PORT/NAME")
    options = parsed.setdefault("OPTIONS", {})
    for option, setting in (("host", "HOST"), ("port", "PORT"), ("user", "USER"), ("password", "PASSWORD"), ("dbname", "NAME")):
        if option in options:
            parsed[setting] = unquote(str(options.pop(option)))
    return dict(parsed)


REQUIRED_IN_PRODUCTION = {
    "DATABASE_URL": "postgresql://USER:PASSWORD@HOST:PORT/NAME",
    "SECRET_KEY": "50 random characters that nobody else knows",
    "ALLOWED_HOSTS": "the names that this site is reached by, separated by commas",
}


def missing_in_production() -> str | None:
    """One line that names every setting that is needed with DEBUG off and not there; None if nothing is missing."""
    missing = [name for name in REQUIRED_IN_PRODUCTION if not os.environ.get(name)]
    if not missing:
        return None
    wanted = "; ".join(f"{name} ({REQUIRED_IN_PRODUCTION[name]})" for name in missing)
    return f"DEBUG is off, and these settings are missing: {wanted}. Set them in the environment or in .env, as .env.example shows."
