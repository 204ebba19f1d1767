"""Password hasher: only a few passwords are hashed at once in a process, and the other attempts wait.

All passwords are hashed and verified here. A command hashes one password at a time, so it never waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.login.hash_limit import HASH_LIMIT

network_of_request: ContextVar[str | None] = ContextVar("network_of_request", default=None)
"""The network of the current request. None outside a request."""
_has_turn: ContextVar[bool] = ContextVar("_has_turn", default=False)


@contextmanager
def hashing_turn(network: str | None) -> Iterator[None]:
    """Hold one place for all password hashes of the block. Raise LoginBusy if none is free."""
    if _has_turn.get():
        yield
        return
    with HASH_LIMIT.entered(network):
        token = _has_turn.set(True)
        try:
            yield
        finally:
            _has_turn.reset(token)


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2 with at most ``LOGIN_HASHES_AT_ONCE`` concurrent hashes in a process. Raises LoginBusy."""

    def encode(self, password: str, salt: str) -> str:
        with hashing_turn(network_of_request.get()):
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with hashing_turn(network_of_request.get()):
            return super().verify(password, encoded)
