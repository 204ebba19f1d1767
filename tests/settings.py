"""The project's settings, for tests: a database server and an embedded vector store of their own, and fast passwords."""

import os
import tempfile

os.environ["DEBUG"] = "on"
if not os.environ.get("DATABASE_URL"):
    # One server for a run, begun by the first process and inherited by the workers; conftest.py stops it.
    os.environ.setdefault("EMBEDDED_POSTGRES_DIR", tempfile.mkdtemp(prefix="findme-test-"))

from findme.settings import *  # noqa: F403

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# A test that talks to Qdrant asks for a fixture that says where; nothing reaches a real store by accident.
QDRANT_URL = ""
QDRANT_PATH = "/nonexistent/qdrant"
