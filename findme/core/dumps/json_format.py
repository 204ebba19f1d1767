"""The JSON format of ``dumpdata`` and ``loaddata`` with exact numbers.

Django's serializer writes the nearest double.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.serializers import json as django_json
from django.core.serializers.base import DeserializationError
from django.core.serializers.python import Deserializer as PythonDeserializer

from findme.core.values.exact_json import ExactDecoder, ExactEncoder


class _Encoder(ExactEncoder):
    """An exact encoder that writes dates, times, UUIDs and lazy texts as Django does."""

    def default(self, o: Any) -> Any:
        return django_json.DjangoJSONEncoder.default(self, o)


class Serializer(django_json.Serializer):
    def _init_options(self) -> None:
        super()._init_options()  # type: ignore[misc]  # not in the stubs
        self.json_kwargs["cls"] = _Encoder


class Deserializer(django_json.Deserializer):
    def __init__(self, stream_or_string: Any, **options: Any) -> None:
        text = stream_or_string if isinstance(stream_or_string, bytes | str) else stream_or_string.read()
        try:
            objects = json.loads(text, cls=ExactDecoder)
        except (ValueError, RecursionError) as error:
            raise DeserializationError from error
        PythonDeserializer.__init__(self, objects, **options)
