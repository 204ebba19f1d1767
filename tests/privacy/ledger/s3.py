"""A server of moto that plays S3, in this process and on loopback."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def s3_bucket() -> Iterator[str]:
    """Yield the URL of a new bucket. The environment names the server and its keys, as it would for the real S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    name = f"findme-{secrets.token_hex(8)}"  # the buckets of all servers in this process are the same
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", "test")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patched.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        try:
            boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
            yield f"s3://{name}"
        finally:
            server.stop()
