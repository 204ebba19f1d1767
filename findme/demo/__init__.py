"""What ``manage.py demo`` does and tells: everything that FindMe is for, once, on people who do not exist."""
