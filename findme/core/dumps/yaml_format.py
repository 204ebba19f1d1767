"""The YAML format of ``dumpdata`` and ``loaddata``. It needs PyYAML, which FindMe does not install."""

from __future__ import annotations

from findme.core.errors import UserFacingError


class FormatUnavailable(UserFacingError, ImportError):
    """PyYAML is missing.

    Django stores the ImportError of a format and raises it when a command uses the format.
    """


try:
    from django.core.serializers.pyyaml import Deserializer as Deserializer
    from django.core.serializers.pyyaml import Serializer as Serializer
except ModuleNotFoundError as error:
    raise FormatUnavailable("The format 'yaml' needs PyYAML, which is not installed. Use the format 'json', or install PyYAML.") from error
