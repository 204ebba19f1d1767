#!/usr/bin/env python
"""The commands: ``manage.py help`` lists them."""

import sys

from findme.console.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
