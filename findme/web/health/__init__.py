"""``/healthz`` and ``/readyz`` report whether the process answers, and whether it can work."""
