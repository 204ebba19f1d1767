"""Signatures by Ed25519 as JWS (RFC 7515, RFC 9864). The private key is in the file that ``PRIVACY_SIGNING_KEY`` names.

The file is PEM: first the private key that signs, then the public keys of former times, which only verify. A JWS names its key by the thumbprint of
RFC 7638. joserfc is imported late, because it takes a part of a second and every command imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from django.conf import settings

from findme.core.errors import UserFacingError
from findme.core.files import atomic_write
from privacy.ledger.key_files import create_in_development, read_key_file

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

    VerifyingKeys: TypeAlias = Mapping[str, OKPKey]
    """Public keys by thumbprint."""

ALGORITHM = "Ed25519"
_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL)


def signing_key() -> OKPKey:
    """Return the private key. Raise UserFacingError if its file cannot be used."""
    key = next(iter(_keys_of_setting().values()))
    if not key.is_private:
        raise UserFacingError("The first key of PRIVACY_SIGNING_KEY is public: nothing was changed. Put the private key before it.")
    return key


def verifying_keys(path: Path | None = None) -> VerifyingKeys:
    """Return the keys of a PEM file, by default of that of ``PRIVACY_SIGNING_KEY``. Raise UserFacingError."""
    if path is None:
        return _keys_of_setting()
    try:
        return _parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserFacingError(f"{str(path)!r} cannot be read ({error.strerror}). Pass the file of the public key.") from None


def create_signing_key(path: Path) -> None:
    """Write a new private key, mode 0600, and its public key next to it with the ending ``.pub``. Raise UserFacingError if the file exists."""
    _write(path, {}, force=False)


def rotate_signing_key(path: Path, keys: VerifyingKeys) -> None:
    """Put a new private key first. Of the old keys, only the public parts stay."""
    _write(path, keys, force=True)


def sign(payload: bytes, key: OKPKey) -> str:
    """Return the compact JWS of the payload."""
    from joserfc import jws

    return jws.serialize_compact({"alg": ALGORITHM, "kid": key.thumbprint()}, payload, key, algorithms=[ALGORITHM])


def verified(token: str, keys: VerifyingKeys) -> bytes:
    """Return the payload of a compact JWS. Raise UserFacingError if none of the keys signed it."""
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        name = str(jws.extract_compact(token.encode()).headers().get("kid"))
    except (JoseError, ValueError):
        raise UserFacingError("This is no signature (a JWS in compact form). Pass the file as it was written.") from None
    if name not in keys:
        raise UserFacingError(f"The signature is by the key {name}, which is not among the given keys. Pass the public key of that time.")
    try:
        return jws.deserialize_compact(token, keys[name], algorithms=[ALGORITHM]).payload
    except (JoseError, ValueError):
        raise UserFacingError(f"The signature by the key {name} does not fit: the text was edited. Get the original.") from None


def _keys_of_setting() -> VerifyingKeys:
    path = Path(settings.PRIVACY_SIGNING_KEY) if settings.PRIVACY_SIGNING_KEY else None
    create_in_development(path, create_signing_key)
    return _parse(read_key_file("PRIVACY_SIGNING_KEY", path, "manage.py ledger_keys"), str(path))


def _parse(text: bytes, path: str) -> VerifyingKeys:
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey

    try:
        keys = [OKPKey.import_key(part) for part in _PEM.findall(text)]
    except (JoseError, ValueError, TypeError):
        keys = []
    if not keys or any(key.curve_name != ALGORITHM for key in keys):
        raise UserFacingError(f"{path!r} has no Ed25519 key in PEM. Pass another file, or create one with manage.py ledger_keys.")
    return {key.thumbprint(): key for key in keys}


def _write(path: Path, old: VerifyingKeys, *, force: bool) -> None:
    from joserfc.jwk import OKPKey

    key = OKPKey.generate_key("Ed25519", private=True)
    public = [key.as_pem(private=False), *(former.as_pem(private=False) for former in old.values())]
    with atomic_write(path, force=force) as file:
        file.write(b"".join([key.as_pem(private=True), *public[1:]]))
    with atomic_write(path.with_name(f"{path.name}.pub"), force=True) as file:
        file.write(b"".join(public))
