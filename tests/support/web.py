"""The web application in processes at the test's database. Each request has its own thread, as in production."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from findme.environment import BASE_DIR
from tests.support.commands import environment
from tests.support.forked_python import ForkedPython, can_fork

DEADLINE = 120.0
SERVE = """
from concurrent.futures import ThreadPoolExecutor
from os import environ
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from findme.wsgi import application

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads, request_queue_size = True, 128
    if threads := int(environ.get("THREADS_OF_THE_TEST", 0)):
        pool = ThreadPoolExecutor(threads)
        def process_request(self, *arguments): self.pool.submit(self.process_request_thread, *arguments)

class Handler(WSGIRequestHandler):
    def address_string(self): return self.client_address[0]
    def log_message(self, *args): pass

server = make_server("127.0.0.1", 0, application, Server, Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
HTTP = {"SECRET_KEY": "a-key-of-more-than-fifty-characters-that-are-never-used-0123456789", "ALLOWED_HOSTS": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Web:
    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def peak_megabytes(self) -> float:
        """Return the peak memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def serving(log: Path | None = None, prelude: str = "", /, **settings: str) -> Iterator[Web]:
    """Run the application during the block. It runs ``prelude`` first, and its stderr goes to the file ``log``."""
    there = environment() | HTTP | settings
    command = [sys.executable, "-W", "ignore", "-c", prelude + SERVE]
    popen = ForkedPython if can_fork(there) else subprocess.Popen[str]
    with (
        nullcontext() if log is None else log.open("w") as stderr,
        popen(command, cwd=BASE_DIR, env=there, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield Web(process, int(process.stdout.readline()))
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class LoginForm:
    """The login page of one browser. It can be posted to any process."""

    cookie: str
    token: str

    @classmethod
    def opened(cls, web: Web) -> LoginForm:
        page = web.ask("GET", "/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
        assert page.status == 200 and token is not None
        return cls(page.headers["Set-Cookie"].partition(";")[0], token[1])

    def post(self, web: Web, name: str, password: str, network: str) -> Answer:
        """Log in. ``network`` is the client's address that a trusted proxy sends."""
        body = urlencode({"csrfmiddlewaretoken": self.token, "username": name, "password": password})
        kind = "application/x-www-form-urlencoded"
        return web.ask("POST", "/admin/login/", body, Cookie=self.cookie, Content_Type=kind, X_Forwarded_For=network)


def post_together(form: LoginForm, posts: Sequence[tuple[Web, str, str, str]]) -> Counter[int]:
    """Send all posts at the same moment. Count the statuses."""
    together, statuses = threading.Barrier(len(posts)), list[int]()

    def post(web: Web, name: str, password: str, network: str) -> None:
        together.wait(DEADLINE)
        statuses.append(form.post(web, name, password, network).status)

    threads = [threading.Thread(target=post, args=arguments) for arguments in posts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(statuses)
