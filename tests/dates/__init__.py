"""The test suite on other days: ``make test-dates``, or ``python -m tests.dates``.

Python's clock is moved by time-machine and PostgreSQL's by libfaketime. libfaketime is not used for Python, because it blocks Python's waits.
"""
