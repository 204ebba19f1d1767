"""What the promises need to know about one store: put data into it, look at it, and break it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import ClassVar
from uuid import UUID

from privacy.registry import Store
from tests.factories import UserFactory


class StoreHarness(ABC):
    """One store with its data, and the ways in which it breaks. Each test gets a new one, whose store is the only one that is registered.

    A method that returns a context manager breaks the store during the block.
    """

    store: Store

    seconds: ClassVar[float] = 20
    """How long any call may take at most."""

    kill_at: ClassVar[tuple[str, ...]]
    """The functions of the store's driver that a removal calls, as ``module:Class.name``. A process is killed before each of these calls."""

    kills: ClassVar[int]
    """How many of these calls one erasure makes."""

    def new_user(self) -> UUID:
        """Create a user in PostgreSQL with data in the store."""
        user_id: UUID = UserFactory.create().pk
        self.put(user_id)
        return user_id

    @abstractmethod
    def put(self, user_id: UUID) -> None:
        """Write data of the user to the store."""

    @abstractmethod
    def put_under_another_key(self, user_id: UUID) -> None:
        """Write data of the user so that a lookup by the user's id does not find it."""

    @abstractmethod
    def has(self, user_id: UUID) -> bool:
        """Return whether the store has data of the user. Read it by other means than the methods of ``Store``."""

    @abstractmethod
    def absent(self) -> AbstractContextManager[object]:
        """Let the store's data be missing as a whole, as before its first use."""

    @abstractmethod
    def down(self) -> AbstractContextManager[object]:
        """Let nothing answer."""

    @abstractmethod
    def slow(self) -> AbstractContextManager[object]:
        """Let the store answer later than the caller waits."""

    def failing_in_session(self) -> AbstractContextManager[object]:
        """Let the store stop to answer while a session is open."""
        return self.slow()

    @abstractmethod
    def lying(self) -> AbstractContextManager[object]:
        """Let the store confirm deletions that it does not make."""

    @abstractmethod
    def hiding(self) -> AbstractContextManager[object]:
        """As ``lying``. In addition, lookups by id find nothing. A search still finds the data."""

    def work(self) -> None:  # noqa: B027  # most stores have no workers
        """Do what the store's workers do, once: write the data of all users. A worker does not fail if the store is in use."""

    def register_elsewhere(self) -> str:
        """Return Python that makes the store the only one that is registered, in another process. Nothing is needed for a store of an app."""
        return ""
