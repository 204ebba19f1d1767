"""A process that kills itself before a given operation."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from django.db import connection

from privacy.ledger.outside import FolderLedger


def run_killed(work: Callable[[], object], operation: int) -> bool:
    """Run the work in a process that kills itself before an operation: a statement, or a change of the ledger outside.

    Return whether it was killed, and not done before.
    """
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            with ExitStack() as stack:
                left = [operation]

                def count(call: Callable[..., Any], *args: Any) -> Any:
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*args)

                stack.enter_context(connection.execute_wrapper(count))
                for name in ("_create", "_delete"):
                    real = getattr(FolderLedger, name)
                    stack.enter_context(patch.object(FolderLedger, name, lambda *args, real=real: count(real, *args)))
                work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)
