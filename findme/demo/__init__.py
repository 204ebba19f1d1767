"""``manage.py demo``: show every part of FindMe once, with users who do not exist."""
