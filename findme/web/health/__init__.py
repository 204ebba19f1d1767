"""``/healthz`` and ``/readyz``: whether the process answers, and whether it can work."""
