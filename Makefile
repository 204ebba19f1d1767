# Every path here is relative to this folder, because make ends a path at a space.
.DEFAULT_GOAL := help
.PHONY: help install demo serve test coverage test-dates test-long test-all storm lint build stop lock clean
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
PYTHON := .venv/bin/python
# What to install: development (all), or production (without the embedded PostgreSQL and the test tools).
PROFILE := development
# The first Python that the pinned packages have wheels for and that can create a virtual environment.
FIND_PYTHON := for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "FindMe needs Python 3.11 to 3.14 with venv and pip, and there is none on the PATH (Debian, Ubuntu: apt-get install python3 python3-venv)." >&2; exit 2; \
	fi
# Two processes more than there are cores, because many tests wait.
PYTEST := $(PYTHON) -m pytest -n "$$($(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 2, 6))')" --dist worksteal
# The tests start some hundred processes. Without files of bytecode, each of them would compile every module.
unexport PYTHONDONTWRITEBYTECODE
# More options for pytest.
OPTIONS :=
SEEDS := 3
# Production settings for the checks. Their database does not exist.
PRODUCTION := DEBUG=off ALLOWED_HOSTS=findme.example DATABASE_URL='postgresql:///findme?host=/nonexistent'

help: ## Show this list
	@echo "FindMe: the data layer of a video-dating service, PostgreSQL and Qdrant. Targets of make:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name words; do printf '%-10s %s\n' "$$name" "$$words"; done
	@echo "  All commands: .venv/bin/python manage.py help"

install: ## Create .venv with the packages of requirements.lock; PROFILE=production: only the packages for production
	@$(PYTHON) -m findme.tools.install --check $(PROFILE) 2>/dev/null || { $(FIND_PYTHON); "$$python" -m findme.tools.install $(PROFILE); }

demo: install ## Run the demo: both stores, a search, an export, an anonymization, and a login for the admin
	@$(PYTHON) manage.py demo

serve: install ## Serve the admin on http://127.0.0.1:8000, or on a free port if that one is in use
	@$(PYTHON) manage.py migrate --check >/dev/null; found=$$?; \
	if [ $$found -eq 1 ]; then echo "The database has no tables, or not all. Run make demo for demo data, or $(PYTHON) manage.py migrate for empty tables." >&2; fi; \
	[ $$found -eq 0 ] || exit 2; \
	trap : INT; \
	port=8000; \
	for attempt in 1 2 3; do \
	  free=$$($(PYTHON) -m findme.tools.free_port $$port); \
	  [ $$attempt -eq 1 ] || [ "$$free" != $$port ] || exit 2; \
	  port=$$free; \
	  [ $$attempt -eq 1 ] || echo "Another program has taken the port. Using port $$port instead." >&2; \
	  DJANGO_RUNSERVER_HIDE_WARNING=true $(PYTHON) manage.py runserver "127.0.0.1:$$port" && exit 0; \
	done; \
	exit 2

test: install ## Run the tests, in about six minutes on two cores; more options of pytest: make test OPTIONS="-k search"
	@$(PYTEST) $(OPTIONS)

coverage: install ## Run all tests with branch coverage and its minimum; needs a Qdrant server, as many tests do
	@$(PYTEST) --cov --cov-report term --cov-fail-under 95 $(OPTIONS)

test-dates: install ## Run the tests with other clocks (leap day, end of a year, time zones): make test-dates DATE=2028-02-29 TESTS=tests/accounts
	@$(PYTHON) -m tests.dates $(foreach date,$(DATE),--date $(date)) $(TESTS)

test-long: install ## Run the examples that make test omits: the same properties at other sizes, moments and stores
	@$(PYTEST) --long $(OPTIONS)

test-all: install ## Run all tests: those of make test and of make test-long
	@$(PYTEST) --all $(OPTIONS)

storm: install ## Kill workers, imports, baselines and a Qdrant server while others write: make storm SEEDS=50
	@STORM_SEEDS=$(SEEDS) $(PYTHON) -m pytest tests/vectorstore/storm -q
	@STORM_SEEDS=$(SEEDS) $(PYTHON) -m pytest --long -q -k while_services_write tests/vectorstore/ingest/from_qdrant tests/findme/migrator/baseline
	@STORM_SEEDS=$(SEEDS) $(PYTHON) -m pytest --long -q -k "killed_over_and_over or killed_at_random or killed__process" tests/privacy
	@STORM_SEEDS=$(SEEDS) $(PYTHON) -m pytest --long -q -k killed tests/backups

lint: install ## Run ruff, mypy, import-linter, the check of words, and Django's checks with production settings
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .
	@$(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	@$(PYTHON) -m tests.language
	@# makemigrations only warns that it cannot reach the database.
	@$(PRODUCTION) SECRET_KEY=unused $(PYTHON) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	export $(PRODUCTION) SECRET_KEY="$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(50))')" \
	  ERASURE_LEDGER_URL="$$folder" ERASURE_LEDGER_KEYS="$$folder/keys.json" PRIVACY_SIGNING_KEY="$$folder/signing.pem" && \
	$(PYTHON) manage.py ledger_keys >/dev/null && \
	$(PYTHON) manage.py check --deploy --fail-level WARNING

build: install ## Build the wheel and the source distribution in dist/
	@rm -rf dist && $(PYTHON) -m build --no-isolation

stop: ## Stop the embedded PostgreSQL
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m findme.embedded stop; else echo "FindMe is not installed here, so no embedded PostgreSQL runs."; fi

lock: ## Write both lock files from pyproject.toml, with the newest releases
	@$(FIND_PYTHON); folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	"$$python" -m venv "$$folder" && \
	"$$folder/bin/python" -m pip --disable-pip-version-check --no-input install --quiet uv && \
	compile="$$folder/bin/python -m uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet" && \
	$$compile --extra embedded --extra dev --upgrade --output-file requirements.lock && \
	grep -v '^ ' requirements.lock | sed 's/ *\\$$//' > "$$folder/same-versions.txt" && \
	$$compile --constraint "$$folder/same-versions.txt" --upgrade --output-file requirements-production.lock

clean: stop ## Remove everything that make created, except the data
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -d .findme ]; then echo "The data are still in .findme."; fi
