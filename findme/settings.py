"""Django settings. Importing them starts no server and needs none; ``.env.example`` documents the variables of the environment."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from findme import impersonal_models
from findme.database_url import database_settings, server_and_name
from findme.environment import BASE_DIR, MAX_DAYS, PACKAGES_DIR, embedded_postgres_folder, env, read_dotenv, refuse_misspelled_names
from findme.web.security_headers import CONTENT_SECURITY_POLICY as CONTENT_SECURITY_POLICY

read_dotenv()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="only-for-development-on-this-machine" if DEBUG else "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- PostgreSQL -------------------------------------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", default="")
EMBEDDED_POSTGRES_DIR = str(embedded_postgres_folder())
EMBEDDED_POSTGRES_ALLOWED = DEBUG
"""A copy of DEBUG: Django's test runner turns DEBUG off later, but the tests use the embedded server."""
EMBEDDED_POSTGRES_DURABLE = True
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        # Without a URL, the embedded server starts at the first connection if DEBUG is on. If it is off, one line says that the URL is missing.
        **(database_settings(DATABASE_URL) if DATABASE_URL else {"ENGINE": "findme.embedded.backend", "NAME": "findme"}),
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=0 if DEBUG else 60),
        "CONN_HEALTH_CHECKS": True,
    }
}
POSTGRESQL_PROGRAMS = env.str("POSTGRESQL_PROGRAMS", default="")
"""A folder with ``pg_dump`` and ``pg_restore``, which is searched before the PATH."""
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIGRATE_WAIT_SECONDS = env.int("MIGRATE_WAIT_SECONDS", default=300)
"""How long ``migrate`` and ``rollback`` wait for each other."""
MIGRATE_TABLE_LOCK_SECONDS = env.float("MIGRATE_TABLE_LOCK_SECONDS", default=5.0)
"""How many seconds a migration waits for a table that is in use. Later queries on the table wait behind it."""
MIGRATE_ATTEMPTS = env.int("MIGRATE_ATTEMPTS", default=10)
"""How many times a migration is tried."""

# --- Qdrant -----------------------------------------------------------------------------------------------------------------------
QDRANT_URL = env.str("QDRANT_URL", default="")
QDRANT_API_KEY = env.str("QDRANT_API_KEY", default="")
QDRANT_GRPC_PORT = env.int("QDRANT_GRPC_PORT", default=0)
"""0 means REST: the gRPC port is never guessed."""
QDRANT_PATH = str(env.folder("QDRANT_PATH", default=".findme/qdrant"))
QDRANT_COLLECTION = env.str("QDRANT_COLLECTION", default="profile_embeddings")
QDRANT_TIMEOUT = env.float("QDRANT_TIMEOUT", default=10.0)
QDRANT_SHARD_NUMBER = env.count("QDRANT_SHARD_NUMBER", default=1)
QDRANT_REPLICATION_FACTOR = env.count("QDRANT_REPLICATION_FACTOR", default=1)
"""How many nodes of a cluster hold each shard."""
QDRANT_WRITE_CONSISTENCY_FACTOR = env.count("QDRANT_WRITE_CONSISTENCY_FACTOR", default=1)
"""How many of these nodes must confirm a write before it counts as done."""
SYNC_LEASE_SECONDS = env.float("SYNC_LEASE_SECONDS", default=60.0)
SYNC_RECHECK_SECONDS = env.float("SYNC_RECHECK_SECONDS", default=30.0)
EMBEDDING_MODEL = env.str("EMBEDDING_MODEL", default="")

# --- Requests of data subjects ----------------------------------------------------------------------------------------------------
REQUEST_TIME_ZONE = env.time_zone("REQUEST_TIME_ZONE", default="UTC")
"""The time zone of the dates of requests."""
REQUEST_HOLIDAYS = env.days("REQUEST_HOLIDAYS")
"""Days on which no deadline ends: ``YYYY-MM-DD``, or ``MM-DD`` for every year."""
REQUEST_RECIPIENTS = env.names("REQUEST_RECIPIENTS")
"""The recipients of personal data, which must be informed of a rectification, an erasure or a restriction."""
REQUEST_CONTACT_DAYS = env.count("REQUEST_CONTACT_DAYS", default=1095, most=MAX_DAYS)
"""For how many days after the end of a request its contact address is kept."""
BACKUP_RETENTION_DAYS = env.count("BACKUP_RETENTION_DAYS", default=0, least=0, most=MAX_DAYS)
"""The greatest age in days of copies of both stores that FindMe does not know. 0: unknown, so no erasure counts as purged."""

# --- Backups ----------------------------------------------------------------------------------------------------------------------
BACKUP_JOURNAL = str(env.file("BACKUP_JOURNAL", default=".findme/restore.json"))
"""The file in which ``restore`` notes what it has begun. It is outside both stores."""

# --- Retention --------------------------------------------------------------------------------------------------------------------
RETENTION_RULES = env.rules("RETENTION_RULES")
"""The rules that ``apply_retention`` applies once they are approved, with their numbers of days (``privacy.retention``)."""

# --- Django -----------------------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "findme",
    "findme.core",
    "findme.migrator",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "csp",
    "axes",
    "privacy",
    "accounts",
    "videos",
    "matching",
    "calls",
    "vectorstore",
    "backups",
    "findme.demo",
]
MIDDLEWARE = [
    "findme.web.health.middleware.answer_health_checks",
    "findme.web.streaming.stream_asynchronously",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "findme.web.security_headers.permissions_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.login.session_limits.limit_sessions",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "findme.web.error_pages.PostgresqlUnavailable",
    "axes.middleware.AxesMiddleware",
    "accounts.login.middleware.HashingMiddleware",
]
ROOT_URLCONF = "findme.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "accounts.User"
IMPERSONAL_MODELS = impersonal_models.IMPERSONAL_MODELS
ANONYMIZE_DATE_OF_BIRTH = env.choice("ANONYMIZE_DATE_OF_BIRTH", ("year", "keep"))
"""What an anonymization does to the date of birth: ``year`` reduces it to 1 January of its year, ``keep`` leaves it."""
PRIVACY_CONTROLLER = env.str("PRIVACY_CONTROLLER", default="")
PRIVACY_OFFICER = env.str("PRIVACY_OFFICER", default="")
PRIVACY_TRANSFERS = env.str("PRIVACY_TRANSFERS", default="")
PRIVACY_SECURITY_MEASURES = env.str("PRIVACY_SECURITY_MEASURES", default="")
"""What only the operator knows about the processing of personal data (``privacy.processing_register``)."""
PRIVACY_FILES_DIR = f"{EMBEDDED_POSTGRES_DIR}/" + (f"privacy-{server_and_name(DATABASES['default'])}" if DATABASE_URL else "privacy")
"""With DEBUG, the ledger and its keys are next to the embedded data, and are created when they are first needed. Each database has its own ledger."""
PRIVACY_FILES_CREATED = DEBUG
FLUSH_ALLOWED = DEBUG
"""Whether ``flush`` may delete all users. Django's tests use it, and set DEBUG to False: so this is a setting of its own."""
ERASURE_LEDGER_URL = env.str("ERASURE_LEDGER_URL", default=f"{PRIVACY_FILES_DIR}/ledger" if DEBUG else "")
ERASURE_LEDGER_KEYS = env.str("ERASURE_LEDGER_KEYS", default=f"{PRIVACY_FILES_DIR}/ledger-keys.json" if DEBUG else "")
PRIVACY_SIGNING_KEY = env.str("PRIVACY_SIGNING_KEY", default=f"{PRIVACY_FILES_DIR}/signing-key.pem" if DEBUG else "")
FILE_STORES = env.file_stores("FILE_STORES")
"""The stores of the users' files: URLs that fsspec can reach, by prefix of the addresses in the database."""
EXPORTS_DIR = env.str("EXPORTS_DIR", default=f"{PRIVACY_FILES_DIR}/exports" if DEBUG else "")
"""The encrypted files of exports that wait for their download."""
EXPORT_LINK_HOURS = env.count("EXPORT_LINK_HOURS", default=72, most=24 * 365)
EXPORTS_PER_DAY = env.count("EXPORTS_PER_DAY", default=3)
EXPORTS_PER_OPERATOR = env.count("EXPORTS_PER_OPERATOR", default=50)
"""The most export links of one person, and by one operator, in 24 hours."""
SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000" if DEBUG else "").rstrip("/")
"""The beginning of the links that a command prints."""
LOGIN_REDIRECT_URL = "admin:index"
PASSWORD_HASHERS = ["accounts.login.hashing.BoundedArgon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
SERIALIZATION_MODULES = {"json": "findme.core.dumps.json_format", "yaml": "findme.core.dumps.yaml_format"}
FIXTURE_DIRS = [PACKAGES_DIR / "fixtures"]
FILE_UPLOAD_HANDLERS = ["findme.web.uploads.RefuseFiles"]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # In production, collectstatic compresses the files and adds a hash to each name. With DEBUG on, the source files are served.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "FindMe",
    "SITE_HEADER": "FindMe",
    "SITE_SYMBOL": "favorite",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda _request: static("findme/admin.css")],
    "SCRIPTS": [lambda _request: static("findme/admin.js")],
    "SIDEBAR": {"navigation": "findme.sidebar.sections"},
}

# --- Login ------------------------------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["accounts.login.backend.LoginBackend"]
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES", words=("unix",))
LOGIN_HASHES_AT_ONCE = env.count("LOGIN_HASHES_AT_ONCE", default=2)
"""How many passwords one process hashes at the same time: each takes 100 MB of memory."""
SESSION_COOKIE_AGE = 12 * 3600
AXES_HANDLER = "accounts.login.handler.LoginHandler"
AXES_CLIENT_IP_CALLABLE = "accounts.login.client.client_network"
AXES_LOCKOUT_CALLABLE = "accounts.login.response.lockout_response"
AXES_ENABLE_ADMIN = AXES_VERBOSE = False

# --- HTTPS, in production ---------------------------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 31_536_000)
# Off, and silenced for `check --deploy`: they affect every host below the domain, and a preload takes months to undo.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_TLS_PROXY", default=False) else None

# --- Logging ----------------------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="WARNING").upper()
if LOG_LEVEL not in logging.getLevelNamesMapping():
    raise ImproperlyConfigured(f"LOG_LEVEL is {LOG_LEVEL!r}: it must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL.")
LOG_FORMAT = env.choice("LOG_FORMAT", ("text", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "findme.json_log.JsonLines"},
    },
    "handlers": {"stderr": {"class": "findme.web.request_log.Stderr", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own handlers would write each line twice with DEBUG on, and never with DEBUG off.
        "django": {"handlers": [], "level": "NOTSET"},
        # One line for each command if the log is JSON, for programs.
        "findme.command": {"level": "INFO" if LOG_FORMAT == "json" else "NOTSET"},
    },
}

refuse_misspelled_names()
