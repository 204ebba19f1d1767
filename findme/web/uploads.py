"""Refuse uploaded files: no form of FindMe takes one.

Django would write a file of any size to the disk before it checks the form's CSRF token, for any client.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler


class FileRefused(SuspiciousOperation):
    """A form contains a file. The request is answered with 400, and the rest of it is not read."""


class RefuseFiles(FileUploadHandler):
    """The only handler in ``FILE_UPLOAD_HANDLERS``."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise FileRefused("No form takes a file.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> NoReturn:
        raise FileRefused("No form takes a file.")

    def file_complete(self, file_size: int) -> None:
        """Do nothing: no file is ever received."""
