"""What the checks of personal data add to ``manage.py check``."""

from __future__ import annotations

import pytest

from tests.support.commands import run_python

LIMIT = 0.1
ROUNDS = 5
SCRIPT = """
import sys, time
from django.core.checks import run_checks
from django.core.checks.registry import registry
from privacy.checks.run import check_owners
if sys.argv[1] == "without":
    registry.registered_checks.remove(check_owners)
begun = time.perf_counter()
messages = run_checks()
print(time.perf_counter() - begun, len(messages), check_owners in registry.registered_checks)
"""


def seconds_of_checks(which: str) -> float:
    """Return how long all checks take in a process of their own, which imports what they need."""
    code, out, err = run_python(SCRIPT, which)
    assert (code, err) == (0, "")
    seconds, messages, included = out.split()
    assert (messages, included) == ("0", str(which == "with"))
    return float(seconds)


@pytest.mark.at_length
@pytest.mark.django_db
def test_checks__add_less_than_a_tenth_of_a_second() -> None:
    """The fastest of several rounds: what else the machine does only adds to a round."""
    rounds = [(seconds_of_checks("with"), seconds_of_checks("without")) for _ in range(ROUNDS)]
    assert min(one for one, _ in rounds) - min(without for _, without in rounds) < LIMIT, rounds
