"""Check the parameters of ``DATABASE_URL`` and their values before libpq connects.

libpq's own errors do not name ``DATABASE_URL`` or the possible values.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import unquote

from findme.core.postgresql.variables import options

HIGHEST_PORT = 65535
WHOLE_NUMBERS = ("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
WHOLE_NUMBER = re.compile(r"\s*[-+]?[0-9]{1,9}\s*")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
CHOICES: dict[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "min_protocol_version": ("3.0", "3.2", "latest"),
    "max_protocol_version": ("3.0", "3.2", "latest"),
}
ANY_CASE = ("ssl_min_protocol_version", "ssl_max_protocol_version")
"""libpq ignores case in these, and an empty value means the default."""
ALSO_ACCEPTED = frozenset({"ssl"})
"""libpq reads ``ssl=true``, as JDBC writes it, as ``sslmode=require``."""
SCHEMA = " To use another schema, add options=-csearch_path%3DNAME."
ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})|%00")


def url_problem(url: str) -> str | None:
    """Return the error for the first parameter that libpq cannot read; None if ``url`` is unreadable for another reason.

    The error never has the value of a parameter: it may be a password.
    """
    for part in _query(url):
        name, equals, value = part.partition("=")
        name = unquote(name)
        if not (equals and re.fullmatch("[A-Za-z_]+", name)):
            continue
        if name not in ALSO_ACCEPTED.union(options()):
            return _unknown(name)
        if "=" in value:
            return f"DATABASE_URL has the parameter {name!r} with an = in its value: write it as %3D."
        if ESCAPE.search(value):
            return f"DATABASE_URL has the parameter {name!r} with a % that does not begin an escape such as %3D: write a % as %25."
        if name == "ssl" and value != "true":
            return "DATABASE_URL has the parameter 'ssl', which can only be true: use sslmode=" + ", ".join(CHOICES["sslmode"]) + "."
    return None


def value_problem(url: str, parameters: dict[str, str]) -> str | None:
    """Return the error for the first value in ``parameters``, as libpq read them from ``url``, that libpq will reject; None if there is none."""
    for name, value in parameters.items():
        if (wanted := _wanted(name, value)) is not None:
            return f"DATABASE_URL has {name}={value!r}: it must be {wanted}."
    return _port_problem(url, parameters)


def _query(url: str) -> list[str]:
    """Return the parameters; none if an @ follows the question mark, which may be a part of the password then."""
    _, question_mark, query = url.partition("?")
    return query.split("&") if question_mark and "@" not in query else []


def _unknown(name: str) -> str:
    near = get_close_matches(name.lower(), ALSO_ACCEPTED.union(options()), n=1, cutoff=0.75)
    return f"DATABASE_URL has the parameter {name!r}, which libpq does not know. " + (
        f"Did you mean {near[0]!r}?" if near else f"Remove it.{SCHEMA if name.lower() == 'schema' else ''}"
    )


def _wanted(name: str, value: str) -> str | None:
    """Return what the parameter must be; None if ``value`` is valid."""
    if name in WHOLE_NUMBERS:
        return None if WHOLE_NUMBER.fullmatch(value) else "a whole number"
    if name == "hostaddr":
        return None if all(map(_is_address, value.split(","))) else "an IP address, or several with a comma between them"
    if name not in CHOICES:
        return None
    choices = CHOICES[name]
    is_right = value.lower() in ("", *(choice.lower() for choice in choices)) if name in ANY_CASE else value in choices
    return None if is_right else f"one of {', '.join(choices)}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text or "0.0.0.0")  # noqa: S104  # if it is empty, libpq looks up the host
    except ValueError:
        return False
    return True


def _port_problem(url: str, parameters: dict[str, str]) -> str | None:
    """Return the error for the ports, without the value if it may be a password: before the parameters, a password can look like a port."""
    ports = parameters.get("port", "").split(",")
    given = any(part.startswith("port=") for part in _query(url))
    what = f"DATABASE_URL has port={parameters.get('port', '')!r}" if given else "DATABASE_URL has a wrong port"
    if not all(_is_port(port) for port in ports if port):
        return f"{what}: it must be a whole number from 1 to {HIGHEST_PORT}." if given or _are_numbers(ports) else None
    hosts = max((len(parameters[name].split(",")) for name in ("host", "hostaddr") if name in parameters), default=len(ports))
    if len(ports) not in (1, hosts):
        return f"{what}: {len(ports)} ports for {hosts} {'host' if hosts == 1 else 'hosts'}. Name one port, or one for each host."
    return None


def _is_port(text: str) -> bool:
    text = text.strip()
    return text.isascii() and text.isdigit() and len(text) <= len(str(HIGHEST_PORT)) and 1 <= int(text) <= HIGHEST_PORT


def _are_numbers(ports: list[str]) -> bool:
    return all(port.strip().isdigit() for port in ports if port)
