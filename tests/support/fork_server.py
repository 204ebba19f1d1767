"""Python with imported libraries, which forks a process for each request. ``tests.support.forked_python`` starts it.

It imports libraries only: no module of the project and no settings. A fork does everything else that ``python manage.py`` does.
Without this, a command spends 0.4 seconds on importing Django, and one of the vector store 1.2 seconds on the client of Qdrant.
"""

import sys

sys.path.pop(0)  # the folder of this file, whose modules could hide others

import gc
import importlib
import json
import os
import runpy
import socket
import time
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIBRARIES = """
    concurrent.futures.thread cryptography.hazmat.primitives.asymmetric.ed25519 cryptography.hazmat.primitives.serialization
    django.contrib.admin django.contrib.auth.hashers django.contrib.postgres.fields django.contrib.postgres.indexes
    django.contrib.postgres.search django.core.handlers.wsgi django.core.management.commands.check django.core.management.commands.migrate
    django.db.backends.postgresql.base django.db.migrations.executor django.forms django.middleware.csrf django.template.defaultfilters
    django.test.signals django.urls django.utils.autoreload django.utils.translation.trans_real django.views.debug django.views.generic
    email.message environ html.parser http.client http.server logging.config numpy psycopg psycopg.types.json
    qdrant_client qdrant_client.http.exceptions rich.progress rich.table sqlparse ssl tempfile uuid whitenoise.middleware zipfile
"""

replaced = list[types.ModuleType]()
"""The module ``__main__`` of this file. Its names are needed until the end."""


def fork() -> int:
    """Fork. Python 3.12 warns of threads, but those of numpy's library end before a fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def serve(requests: socket.socket) -> Callable[[], object] | None:
    """Fork for each request, until there are no more. In a fork, return its program."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not data:
            return None
        parent = fork()
        if parent == 0:
            # A process whose parent has ended belongs to the process of the test. That one can wait for it, as for all its children.
            parent = os.getpid()
            if pid := fork():
                requests.sendall(str(pid).encode())
                os._exit(0)
            while os.getppid() == parent:
                time.sleep(0.0005)
            requests.close()
            return program(json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(parent, 0)
        requests.sendall(b"forked")


def program(request: dict[str, Any], descriptors: list[int]) -> Callable[[], object]:
    """Make this process what ``python ARGUMENTS`` is before its first line. Return what runs that."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    arguments = request["arguments"]
    sys.orig_argv[1:] = arguments
    while arguments[0] == "-W":
        sys.warnoptions.append(arguments[1])
        warnings._processoptions([arguments[1]])  # type: ignore[attr-defined]
        del arguments[:2]
    replaced.append(sys.modules["__main__"])
    main = sys.modules["__main__"] = sys.modules["__mp_main__"] = types.ModuleType("__main__")
    name = arguments[0]
    if name == "-m":
        sys.argv[:] = ["-m", *arguments[2:]]
        sys.path.insert(0, request["cwd"])
        return partial(runpy._run_module_as_main, arguments[1])  # type: ignore[attr-defined]
    if name == "-c":
        sys.argv[:] = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        return partial(exec, compile(arguments[1], "<string>", "exec", dont_inherit=True), main.__dict__)
    sys.argv[:] = arguments
    path = Path(request["cwd"], name)
    main.__file__ = str(path)
    sys.path.insert(0, str(path.parent))
    return partial(exec, compile(path.read_bytes(), path, "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    for library in LIBRARIES.split():
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    run = serve(socket.socket(fileno=int(sys.argv[1])))
    if run is not None:
        run()
