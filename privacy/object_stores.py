"""Open a store that fsspec can reach, such as S3, with limits for connecting and reading."""

from __future__ import annotations

from typing import Any


def open_object_store(url: str, **options: Any) -> tuple[Any, str]:
    """Return the file system of fsspec and the path of ``url`` in it. Raise any error of fsspec."""
    import fsspec  # imported late, because it takes a part of a second and every command imports this module

    options |= {"skip_instance_cache": True, "use_listings_cache": False}
    if url.startswith(("s3://", "s3a://")):
        options["config_kwargs"] = {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 2}}
    files, root = fsspec.core.url_to_fs(url, **options)
    return files, str(root).rstrip("/")


def require_bucket(files: Any, root: str) -> None:
    """Raise an error of fsspec if the bucket of an S3 path is missing. Ask this where a file is missing: a missing bucket is no empty store.

    The other stores do not tell the two apart.
    """
    if hasattr(files, "call_s3"):
        files.call_s3("head_bucket", Bucket=root.partition("/")[0])


def create_object(files: Any, path: str, content: bytes) -> bool:
    """Create an object. Return False, and change nothing, if it exists. Raise any error of fsspec."""
    try:
        files.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    # An answer is no proof. A store that ignores the condition overwrites the object of another process here, and the next one finds the difference.
    return bool(files.cat_file(path) == content)
