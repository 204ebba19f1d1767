"""An app that tells FindMe nothing about its personal data."""
