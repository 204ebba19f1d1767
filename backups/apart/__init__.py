"""Functions that run in a process of their own, which knows a scratch database and not the live one."""
