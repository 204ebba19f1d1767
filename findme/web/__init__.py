"""What stands around Django's requests: headers, limits, error pages, the request log and the health checks."""
