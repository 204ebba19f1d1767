"""The project's settings, for tests: a database server and an embedded vector store of their own, and fast passwords."""

import os
import secrets

from tests.support.memory import roomy_folder

os.environ["DEBUG"] = "on"
if "PYTEST_XDIST_WORKER" not in os.environ:
    # One server for a run: named by the process that begins it, inherited by the workers, started by the first test that needs it.
    os.environ["EMBEDDED_POSTGRES_DIR"] = str(roomy_folder() / f"findme-test-{secrets.token_hex(8)}")

from findme.settings import *  # noqa: F403

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# As with DEBUG on: static files come from where they are, nothing need be collected.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600
EMBEDDED_POSTGRES_DURABLE = False
# A test that talks to Qdrant asks for a fixture that says where; nothing reaches a real store by accident.
QDRANT_URL = ""
QDRANT_PATH = "/dev/null/qdrant"  # which not even root can make
