"""Middleware and handlers around Django's requests: headers, limits, error pages, request log and health checks."""
