"""Certificates of erasures: signed, without personal data, and verifiable without FindMe."""
