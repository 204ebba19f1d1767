"""The project's settings for tests: a separate database server and embedded vector store, and fast password hashing."""

import os
import secrets

from tests.support.memory import roomy_folder

os.environ["DEBUG"] = "on"
if "PYTEST_XDIST_WORKER" not in os.environ:
    # One server for each run. The process that begins the run names it, the workers inherit the name, and the first test that needs it starts it.
    os.environ["EMBEDDED_POSTGRES_DIR"] = str(roomy_folder() / f"findme-test-{secrets.token_hex(8)}")

# Each worker has its own database, and so its own ledger outside the database. tests.conftest empties it.
os.environ["ERASURE_LEDGER_URL"] = f"{os.environ['EMBEDDED_POSTGRES_DIR']}/privacy/{os.environ.get('PYTEST_XDIST_WORKER', 'ledger')}"

os.environ["EXPORTS_DIR"] = f"{os.environ['EMBEDDED_POSTGRES_DIR']}/privacy/exports-{os.environ.get('PYTEST_XDIST_WORKER', 'one')}"

from findme.settings import *  # noqa: F403

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# As with DEBUG on: static files are served from their source folders and need not be collected.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600
EMBEDDED_POSTGRES_DURABLE = False
# A test of Qdrant uses a fixture that sets the address, so no test reaches a real store by accident.
QDRANT_URL = ""
QDRANT_PATH = "/dev/null/qdrant"  # not even root can create it
